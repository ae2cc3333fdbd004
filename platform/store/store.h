// What the control plane must not forget: jobs with their instances, access keys, settings. One SQLite file (WAL,
// synchronous=FULL) with one writer thread; what save() reported as done survives kill -9 and power loss.
//
// open() takes the folder for this process alone (a lock on DIR/lock, which holds the pid): a second server on the same
// data is refused, and so is data of a newer version.
#pragma once

#include <cstdint>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "common/files.h"
#include "platform/control/record.h"

namespace athanor::store {

// An access key. Those of people have neither job nor expiry.
struct Key {
  std::string access_key_id;
  std::string secret_access_key;
  std::string session_token;    // empty: none is needed
  std::string principal;        // ARN of whoever holds it
  std::int64_t job = 0;         // sequence of the job whose role this is; 0: none
  std::int64_t expires_ms = 0;  // 0: never
};

struct Changes {
  std::vector<control::JobRecord> jobs;  // inserted, or replaced whole
  std::vector<std::int64_t> removed_jobs;
  std::vector<std::int64_t> ended_jobs;  // whose roles' keys are removed
  std::vector<Key> keys;                 // inserted or replaced
  std::map<std::string, std::string> settings;
};

struct Contents {
  std::vector<control::JobRecord> jobs;  // by sequence
  std::vector<Key> keys;
  std::map<std::string, std::string> settings;
  std::int64_t last_sequence = 0;  // the highest job sequence ever stored, removed jobs included
};

class Store {
 public:
  // `done` gets nothing, or why it was not stored (kExhausted: the disk is full; changes without a new job have some
  // room kept for them). It is called on the writer thread.
  using Done = std::function<void(std::exception_ptr error)>;

  virtual ~Store() = default;
  virtual Contents load() = 0;
  // Queues the changes; all of one call are stored together or not at all, in the order of the calls. Calls that come
  // while a commit is running share the next. Any thread.
  virtual void save(Changes changes, Done done) = 0;

  // Throws kConflict when another process has the folder (its pid is in the text), kInvalid when a newer program wrote
  // it, kCorrupt when it is not ours.
  // `files` outlives it.
  static std::unique_ptr<Store> open(const std::string& folder, Files& files);
};

}  // namespace athanor::store
