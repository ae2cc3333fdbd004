// Checkpoints: down from S3 before the program starts, and up while it runs. What appears, changes or vanishes below
// the folder does so in S3. A file goes up once it has been still for kStill_ms; a folder that the program calls complete
// goes up at once, whole, before anything newer.
//
// One thread of its own looks at the folder every kLook_ms (a walk costs microseconds a file, and unlike inotify it
// needs no watch a folder and misses nothing). When the store does not answer it tries again for ever.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "common/clock.h"
#include "common/files.h"
#include "platform/node/folder_view.h"
#include "platform/storage/s3_client.h"

namespace athanor::node {

// What is to be done about a folder, given what S3 is known to hold. Pure.
struct CheckpointPlan {
  std::vector<FolderEntry> upload;
  std::vector<std::string> remove;  // relative paths
};
// `known`: path → what was uploaded. `now_ns`: wall clock. With `all`, also what changed a moment ago.
CheckpointPlan plan_checkpoints(const std::vector<FolderEntry>& present,
                                const std::map<std::string, FolderEntry>& known, std::int64_t now_ns, bool all);

class Checkpoints {
 public:
  static constexpr std::int64_t kLook_ms = 1000;
  static constexpr std::int64_t kStill_ms = 1000;

  // Where the folder is: BASE/PATH on the host, by no link of the job's below BASE. The job knows BASE as `called`.
  struct Place {
    std::string base;
    std::string path;
    std::string called;
  };

  // `client`, `files` and `clock` outlive it; `uri` is s3://BUCKET/PREFIX. Makes the folder. One that the job removes is empty.
  Checkpoints(storage::S3Client& client, const std::string& uri, Place place, Files& files, const Clock& clock);
  ~Checkpoints();  // gives up what is not uploaded

  // Brings everything below the prefix into the folder. Blocking; before start(). `progress` may throw to end it.
  void restore(const std::function<void(std::uint64_t)>& progress);
  void start();
  // The program says that the folder PATH below ours is complete. Any thread.
  void complete(std::string path);
  // The program has ended: uploads what is left, calls `done` (on our thread) with a sentence when that failed for
  // good, and ends. Once.
  void finish(std::function<void(std::optional<std::string> failure)> done);

 private:
  void run();
  void look(const std::string& from, bool all);
  void pause(std::int64_t milliseconds);

  storage::S3Client& client_;
  const storage::S3Uri prefix_;
  const Place place_;
  Files& files_;
  const Clock& clock_;
  std::map<std::string, FolderEntry> known_;  // our thread's, after start()

  std::mutex mutex_;  // guards the next four
  std::condition_variable wake_;
  std::deque<std::string> complete_;
  std::function<void(std::optional<std::string>)> done_;
  bool closing_ = false;
  std::atomic<bool> cancelled_ = false;
  std::thread thread_;
};

}  // namespace athanor::node
