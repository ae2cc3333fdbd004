// The access keys that requests are verified against: those of people, made at the first start, and those of running
// jobs' roles. In memory; platform/store has them durably. Any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <shared_mutex>
#include <string>
#include <string_view>
#include <unordered_map>

#include "common/random.h"
#include "platform/store/store.h"

namespace athanor::server {

class KeyStore {
 public:
  // Expired keys are found too: the caller tells an expired token from an unknown one by `expires_ms`.
  std::optional<store::Key> find(std::string_view access_key_id) const;
  // The newest key of a job's role.
  std::optional<store::Key> find_by_job(std::int64_t job) const;
  // The key that `athanor env` prints.
  std::optional<store::Key> find_of_people() const;

  void add(store::Key key);
  void remove_of_job(std::int64_t job);

 private:
  mutable std::shared_mutex mutex_;  // guards all below
  std::unordered_map<std::string, store::Key> keys_;
  std::unordered_multimap<std::int64_t, std::string> by_job_;
};

// A new key in the service's form: AKIA… for people, ASIA… with a session token when `job` is not 0.
store::Key make_key(Random& random, std::string principal, std::int64_t job, std::int64_t expires_ms);

}  // namespace athanor::server
