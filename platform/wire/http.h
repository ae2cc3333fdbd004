// One HTTP exchange as the API rooms see it, free of the server that carries it: a request head, a body to be pulled,
// a response to be returned. platform/server drives it with Boost.Beast; tests drive it with strings.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace athanor::wire {

template <typename T>
using Awaitable = boost::asio::awaitable<T>;

// Headers in the order sent. Names are compared without case; a name may repeat.
class Headers {
 public:
  void add(std::string name, std::string value) { fields_.emplace_back(std::move(name), std::move(value)); }
  void set(std::string_view name, std::string value);
  // The first value, or nothing.
  const std::string* find(std::string_view name) const;
  bool has(std::string_view name) const { return find(name) != nullptr; }
  std::string get_or(std::string_view name, std::string_view fallback) const;
  auto begin() const { return fields_.begin(); }
  auto end() const { return fields_.end(); }
  std::size_t size() const { return fields_.size(); }

 private:
  std::vector<std::pair<std::string, std::string>> fields_;
};

// Bytes to be pulled, by one reader.
class Body {
 public:
  virtual ~Body() = default;
  // Up to `into.size()` bytes; 0 only at the end. Throws kUnavailable when the sender broke off, kInvalid when what was
  // sent is malformed.
  virtual Awaitable<std::size_t> read_some(std::span<char> into) = 0;
  // Bytes in all, when known before they come.
  virtual std::optional<std::uint64_t> length() const = 0;
};

// A body that is a string.
class StringBody final : public Body {
 public:
  explicit StringBody(std::string bytes) : bytes_(std::move(bytes)) {}
  Awaitable<std::size_t> read_some(std::span<char> into) override;
  std::optional<std::uint64_t> length() const override { return bytes_.size(); }

 private:
  std::string bytes_;
  std::size_t at_ = 0;
};

// Reads to the end; throws kExhausted when there are more than `bytes_max`.
Awaitable<std::string> read_all(Body& body, std::size_t bytes_max);

struct Request {
  std::string method;                                      // "GET"
  std::string target;                                      // as sent: "/bucket/a%20key?list-type=2"
  std::string path;                                        // the target's part before '?', still percent-encoded
  std::vector<std::pair<std::string, std::string>> query;  // decoded, in the order sent; "?uploads" has an empty value
  Headers headers;
  std::unique_ptr<Body> body;  // never null
  std::string request_id;      // made by the server; goes into replies and logs
  bool secure = false;         // came over TLS

  const std::string* find_query(std::string_view name) const;
};

// A piece of an open file, sent without passing through our memory where the transport can (sendfile).
struct FilePart {
  std::shared_ptr<const int> descriptor;  // closes itself with the last owner
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
};

struct Response {
  int status = 200;
  Headers headers;              // without Content-Length, Connection, Date: the server adds them
  std::string body;             // sent when `files` is empty
  std::vector<FilePart> files;  // sent one after the other: an object of several parts
  bool head_only = false;       // answer to HEAD: Content-Length of the body or files, and no bytes
};

// %XX decoding (a '+' stays a '+'). Throws kInvalid on a broken escape.
std::string percent_decode(std::string_view text);
// RFC 3986: all but unreserved characters (and '/', when `keep_slash`) become %XX in upper case.
std::string percent_encode(std::string_view text, bool keep_slash);
// "a=1&b" to {("a", "1"), ("b", "")}, decoded; empty pieces are left out. Throws kInvalid on a broken escape.
std::vector<std::pair<std::string, std::string>> parse_query(std::string_view text);
// Sets target, path and query. Throws kInvalid on a broken escape in the query.
void set_target(Request& request, std::string target);

}  // namespace athanor::wire
