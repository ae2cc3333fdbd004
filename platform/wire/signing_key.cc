#include "platform/wire/signing_key.h"

// The low-level SHA-256 is deprecated in OpenSSL 3.0 for applications that might want another provider; it is what
// lets an HMAC key be kept half computed, and it spares each request OpenSSL's look-ups by name.
#define OPENSSL_SUPPRESS_DEPRECATED
#include <openssl/sha.h>

#include <algorithm>
#include <cstring>

#include "common/hash.h"

namespace athanor::wire {

namespace {

constexpr std::size_t kSigningKeysMax = 1024;

}  // namespace

HmacKey::HmacKey(std::string_view key) {
  std::array<unsigned char, SHA256_CBLOCK> block{};
  if (key.size() > block.size()) {
    const std::string digest = sha256(key);
    std::memcpy(block.data(), digest.data(), digest.size());
  } else {
    std::memcpy(block.data(), key.data(), key.size());
  }
  const auto state_after = [&block](unsigned char pad) {
    std::array<unsigned char, SHA256_CBLOCK> padded;
    for (std::size_t i = 0; i < block.size(); ++i) padded[i] = block[i] ^ pad;
    SHA256_CTX context;
    SHA256_Init(&context);
    SHA256_Update(&context, padded.data(), padded.size());
    std::array<std::uint32_t, 8> state;
    std::copy(std::begin(context.h), std::end(context.h), state.begin());
    return state;
  };
  inner_ = state_after(0x36);
  outer_ = state_after(0x5c);
}

namespace {

std::array<unsigned char, 32> finish_from(const std::array<std::uint32_t, 8>& state, const void* bytes,
                                          std::size_t count) {
  SHA256_CTX context;
  SHA256_Init(&context);
  std::copy(state.begin(), state.end(), std::begin(context.h));
  context.Nl = SHA256_CBLOCK * 8;  // bits hashed so far: the padded key
  SHA256_Update(&context, bytes, count);
  std::array<unsigned char, 32> digest;
  SHA256_Final(digest.data(), &context);
  return digest;
}

}  // namespace

std::string HmacKey::sign(std::string_view message) const {
  const auto inner = finish_from(inner_, message.data(), message.size());
  const auto outer = finish_from(outer_, inner.data(), inner.size());
  return std::string(outer.begin(), outer.end());
}

std::string HmacKey::sign_hex(std::string_view message) const { return to_hex(sign(message)); }

HmacKey derive_signing_key(std::string_view secret_access_key, const Scope& scope) {
  const std::string date = HmacKey("AWS4" + std::string(secret_access_key)).sign(scope.date);
  const std::string region = HmacKey(date).sign(scope.region);
  const std::string service = HmacKey(region).sign(scope.service);
  return HmacKey(HmacKey(service).sign(kSigningTerminator));
}

std::shared_ptr<const HmacKey> SigningKeys::get(std::string_view access_key_id, std::string_view secret_access_key,
                                                const Scope& scope) {
  std::string name;
  name.reserve(access_key_id.size() + scope.date.size() + scope.region.size() + scope.service.size() + 3);
  name.append(access_key_id).append("/").append(scope.date).append("/");
  name.append(scope.region).append("/").append(scope.service);
  {
    const std::lock_guard lock(mutex_);
    const auto found = entries_.find(name);
    if (found != entries_.end() && found->second.secret_access_key == secret_access_key) return found->second.key;
  }
  auto key = std::make_shared<const HmacKey>(derive_signing_key(secret_access_key, scope));
  const std::lock_guard lock(mutex_);
  // Scopes change once a day; when something fills the table all the same, it starts afresh.
  if (entries_.size() >= kSigningKeysMax) entries_.clear();
  entries_[std::move(name)] = {std::string(secret_access_key), key};
  return key;
}

}  // namespace athanor::wire
