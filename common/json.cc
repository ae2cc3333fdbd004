#include "common/json.h"

#include "common/error.h"

namespace athanor::json {

namespace {

const value* present(const object& from, std::string_view key) {
  const value* found = from.if_contains(key);
  return found == nullptr || found->is_null() ? nullptr : found;
}

[[noreturn]] void mistyped(std::string_view key, std::string_view expected, const value& got) {
  throw Error(ErrorKind::kInvalid, "JSON field '{}' must be {}, not {}", std::string(key), std::string(expected),
              std::string(boost::json::to_string(got.kind())));
}

}  // namespace

value parse(std::string_view text, std::string_view source) {
  boost::json::error_code failure;
  boost::json::parse_options options;
  options.max_depth = 32;
  value parsed = boost::json::parse(text, failure, {}, options);
  if (failure) throw Error(ErrorKind::kInvalid, "reading {}: not JSON: {}", std::string(source), failure.message());
  return parsed;
}

std::optional<std::string> find_string(const object& from, std::string_view key) {
  const value* found = present(from, key);
  if (found == nullptr) return std::nullopt;
  if (!found->is_string()) mistyped(key, "a string", *found);
  return std::string(found->get_string());
}

std::optional<std::int64_t> find_int(const object& from, std::string_view key) {
  const value* found = present(from, key);
  if (found == nullptr) return std::nullopt;
  boost::json::error_code failure;
  const auto number = found->to_number<std::int64_t>(failure);
  if (failure) mistyped(key, "an integer", *found);
  return number;
}

std::optional<double> find_double(const object& from, std::string_view key) {
  const value* found = present(from, key);
  if (found == nullptr) return std::nullopt;
  boost::json::error_code failure;
  const auto number = found->to_number<double>(failure);
  if (failure) mistyped(key, "a number", *found);
  return number;
}

std::optional<bool> find_bool(const object& from, std::string_view key) {
  const value* found = present(from, key);
  if (found == nullptr) return std::nullopt;
  if (!found->is_bool()) mistyped(key, "true or false", *found);
  return found->get_bool();
}

const object* find_object(const object& from, std::string_view key) {
  const value* found = present(from, key);
  if (found == nullptr) return nullptr;
  if (!found->is_object()) mistyped(key, "an object", *found);
  return &found->get_object();
}

const array* find_array(const object& from, std::string_view key) {
  const value* found = present(from, key);
  if (found == nullptr) return nullptr;
  if (!found->is_array()) mistyped(key, "an array", *found);
  return &found->get_array();
}

std::string get_string(const object& from, std::string_view key) {
  auto found = find_string(from, key);
  if (!found) throw Error(ErrorKind::kInvalid, "JSON field '{}' is missing", std::string(key));
  return *std::move(found);
}

std::int64_t get_int(const object& from, std::string_view key) {
  const auto found = find_int(from, key);
  if (!found) throw Error(ErrorKind::kInvalid, "JSON field '{}' is missing", std::string(key));
  return *found;
}

}  // namespace athanor::json
