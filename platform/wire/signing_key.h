// The keys that SigV4 derives from a secret: one for each day, region and service.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>

namespace athanor::wire {

inline constexpr std::string_view kSigningTerminator = "aws4_request";

// What a signing key is good for.
struct Scope {
  std::string date;  // YYYYMMDD
  std::string region;
  std::string service;
};

// An HMAC-SHA256 key with its first block already hashed: each use costs the message alone.
class HmacKey {
 public:
  explicit HmacKey(std::string_view key);
  std::string sign(std::string_view message) const;      // 32 raw bytes
  std::string sign_hex(std::string_view message) const;  // 64 digits

 private:
  // SHA-256's state after the inner and the outer padded key.
  std::array<std::uint32_t, 8> inner_;
  std::array<std::uint32_t, 8> outer_;
};

HmacKey derive_signing_key(std::string_view secret_access_key, const Scope& scope);

// Signing keys already derived (four HMACs each). Bounded; any thread.
class SigningKeys {
 public:
  std::shared_ptr<const HmacKey> get(std::string_view access_key_id, std::string_view secret_access_key,
                                     const Scope& scope);

 private:
  struct Entry {
    std::string secret_access_key;
    std::shared_ptr<const HmacKey> key;
  };
  std::mutex mutex_;
  std::unordered_map<std::string, Entry> entries_;  // guarded by mutex_; "AKID/date/region/service"
};

}  // namespace athanor::wire
