#include "platform/server/key_store.h"

#include <mutex>

#include "common/hash.h"

namespace athanor::server {
namespace {

std::string pick(Random& random, std::string_view alphabet, std::size_t count) {
  std::string text;
  for (std::size_t i = 0; i < count; ++i) text += alphabet[random.below(alphabet.size())];
  return text;
}

}  // namespace

std::optional<store::Key> KeyStore::find(std::string_view access_key_id) const {
  const std::shared_lock hold(mutex_);
  const auto it = keys_.find(std::string(access_key_id));
  return it == keys_.end() ? std::nullopt : std::optional(it->second);
}

std::optional<store::Key> KeyStore::find_by_job(std::int64_t job) const {
  const std::shared_lock hold(mutex_);
  std::optional<store::Key> newest;
  const auto [begin, end] = by_job_.equal_range(job);
  for (auto it = begin; it != end; ++it) {
    const store::Key& key = keys_.at(it->second);
    if (!newest || newest->expires_ms < key.expires_ms) newest = key;
  }
  return newest;
}

std::optional<store::Key> KeyStore::find_of_people() const { return find_by_job(0); }

void KeyStore::add(store::Key key) {
  const std::unique_lock hold(mutex_);
  if (!keys_.contains(key.access_key_id)) by_job_.emplace(key.job, key.access_key_id);
  keys_.insert_or_assign(key.access_key_id, std::move(key));
}

void KeyStore::remove_of_job(std::int64_t job) {
  const std::unique_lock hold(mutex_);
  const auto [begin, end] = by_job_.equal_range(job);
  for (auto it = begin; it != end; ++it) keys_.erase(it->second);
  by_job_.erase(job);
}

store::Key make_key(Random& random, std::string principal, std::int64_t job, std::int64_t expires_ms) {
  constexpr std::string_view kIdAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
  constexpr std::string_view kSecretAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  store::Key key;
  key.access_key_id = (job == 0 ? "AKIA" : "ASIA") + pick(random, kIdAlphabet, 16);
  key.secret_access_key = pick(random, kSecretAlphabet, 40);
  if (job != 0) key.session_token = pick(random, kSecretAlphabet, 120);
  key.principal = std::move(principal);
  key.job = job;
  key.expires_ms = expires_ms;
  return key;
}

}  // namespace athanor::server
