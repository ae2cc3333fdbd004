// Cryptographic hashes and their spellings, over OpenSSL. Any thread; one Hasher belongs to one thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace athanor {

// Incremental digest by OpenSSL's name for it: "SHA256", "SHA1", "MD5".
class Hasher {
 public:
  explicit Hasher(const char* algorithm);
  ~Hasher();
  Hasher(Hasher&&) noexcept;
  Hasher& operator=(Hasher&&) noexcept;

  void update(std::string_view bytes);
  // The raw digest of everything so far; the object is then spent.
  std::string finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

std::string sha256(std::string_view bytes);                             // 32 raw bytes
std::string hmac_sha256(std::string_view key, std::string_view bytes);  // 32 raw bytes

std::string to_hex(std::string_view bytes);     // lower case
std::string to_base64(std::string_view bytes);  // RFC 4648, padded
// Throws kInvalid on anything but canonical padded base64.
std::string from_base64(std::string_view text);
// Compares without telling by its duration where they differ.
bool equal_constant_time(std::string_view a, std::string_view b);

}  // namespace athanor
