#include "platform/wire/http.h"

#include <algorithm>
#include <cstring>

#include "common/error.h"
#include "platform/wire/header_text.h"

namespace athanor::wire {

namespace {

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

bool unreserved(char c) {
  return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' ||
         c == '_' || c == '~';
}

}  // namespace

void Headers::set(std::string_view name, std::string value) {
  const auto same = [&](const auto& field) { return equal_without_case(field.first, name); };
  const auto first = std::find_if(fields_.begin(), fields_.end(), same);
  if (first == fields_.end()) {
    fields_.emplace_back(std::string(name), std::move(value));
    return;
  }
  first->second = std::move(value);
  fields_.erase(std::remove_if(first + 1, fields_.end(), same), fields_.end());
}

const std::string* Headers::find(std::string_view name) const {
  for (const auto& [field, value] : fields_) {
    if (equal_without_case(field, name)) return &value;
  }
  return nullptr;
}

std::string Headers::get_or(std::string_view name, std::string_view fallback) const {
  const std::string* found = find(name);
  return found != nullptr ? *found : std::string(fallback);
}

Awaitable<std::size_t> StringBody::read_some(std::span<char> into) {
  const std::size_t count = std::min(into.size(), bytes_.size() - at_);
  std::memcpy(into.data(), bytes_.data() + at_, count);
  at_ += count;
  co_return count;
}

Awaitable<std::string> read_all(Body& body, std::size_t bytes_max) {
  const auto too_many = [bytes_max] {
    return Error(ErrorKind::kExhausted, "reading a request's body: it is longer than the {} bytes allowed here",
                 bytes_max);
  };
  const auto length = body.length();
  if (length && *length > bytes_max) throw too_many();
  std::string bytes;
  // One byte of room beyond the known length lets the end show itself in the same read.
  bytes.resize(length ? static_cast<std::size_t>(*length) + 1 : std::min<std::size_t>(bytes_max + 1, 16 * 1024));
  std::size_t at = 0;
  for (;;) {
    const std::size_t count = co_await body.read_some(std::span(bytes).subspan(at));
    if (count == 0) break;
    at += count;
    if (at > bytes_max) throw too_many();
    if (at == bytes.size()) bytes.resize(std::min(2 * bytes.size(), bytes_max + 1));
  }
  bytes.resize(at);
  co_return bytes;
}

const std::string* Request::find_query(std::string_view name) const {
  for (const auto& [key, value] : query) {
    if (key == name) return &value;
  }
  return nullptr;
}

std::string percent_decode(std::string_view text) {
  std::string decoded;
  decoded.reserve(text.size());
  for (std::size_t at = 0; at < text.size(); ++at) {
    if (text[at] != '%') {
      decoded.push_back(text[at]);
      continue;
    }
    const int high = at + 2 < text.size() ? hex_digit(text[at + 1]) : -1;
    const int low = at + 2 < text.size() ? hex_digit(text[at + 2]) : -1;
    if (high < 0 || low < 0) {
      throw Error(ErrorKind::kInvalid, "decoding '{}': '%' must be followed by two hexadecimal digits",
                  std::string(text.substr(0, 200)));
    }
    decoded.push_back(static_cast<char>(high * 16 + low));
    at += 2;
  }
  return decoded;
}

std::string percent_encode(std::string_view text, bool keep_slash) {
  static constexpr char kDigits[] = "0123456789ABCDEF";
  std::string encoded;
  encoded.reserve(text.size() + text.size() / 4);
  for (const char c : text) {
    if (unreserved(c) || (keep_slash && c == '/')) {
      encoded.push_back(c);
      continue;
    }
    const auto byte = static_cast<unsigned char>(c);
    encoded.push_back('%');
    encoded.push_back(kDigits[byte >> 4]);
    encoded.push_back(kDigits[byte & 15]);
  }
  return encoded;
}

std::vector<std::pair<std::string, std::string>> parse_query(std::string_view text) {
  std::vector<std::pair<std::string, std::string>> query;
  while (!text.empty()) {
    const std::size_t end = text.find('&');
    const std::string_view piece = text.substr(0, end);
    text = end == std::string_view::npos ? std::string_view() : text.substr(end + 1);
    if (piece.empty()) continue;
    const std::size_t equals = piece.find('=');
    query.emplace_back(percent_decode(piece.substr(0, equals)),
                       equals == std::string_view::npos ? std::string() : percent_decode(piece.substr(equals + 1)));
  }
  return query;
}

void set_target(Request& request, std::string target) {
  request.target = std::move(target);
  const std::size_t question = request.target.find('?');
  request.path = request.target.substr(0, question);
  request.query = question == std::string::npos ? decltype(request.query)()
                                                : parse_query(std::string_view(request.target).substr(question + 1));
}

}  // namespace athanor::wire
