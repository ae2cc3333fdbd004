#include "common/json.h"

#include <boost/json/basic_parser_impl.hpp>
#include <charconv>

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

// Builds a value from what the parser finds. Boost 1.81 reads some doubles one unit in the last place off; these are read
// again, exactly, from their text. Names and limits are those that basic_parser asks for.
class Builder {
 public:
  static constexpr std::size_t max_array_size = array::max_size();
  static constexpr std::size_t max_object_size = object::max_size();
  static constexpr std::size_t max_string_size = boost::json::string::max_size();
  static constexpr std::size_t max_key_size = boost::json::string::max_size();

  using Text = boost::json::string_view;
  using Code = boost::json::error_code;

  value take() { return stack_.release(); }

  bool on_document_begin(Code&) { return true; }
  bool on_document_end(Code&) { return true; }
  bool on_object_begin(Code&) { return true; }
  bool on_object_end(std::size_t count, Code&) { return stack_.push_object(count), true; }
  bool on_array_begin(Code&) { return true; }
  bool on_array_end(std::size_t count, Code&) { return stack_.push_array(count), true; }
  bool on_key_part(Text part, std::size_t, Code&) { return stack_.push_chars(part), true; }
  bool on_key(Text rest, std::size_t, Code&) { return stack_.push_key(rest), true; }
  bool on_string_part(Text part, std::size_t, Code&) { return stack_.push_chars(part), true; }
  bool on_string(Text rest, std::size_t, Code&) { return stack_.push_string(rest), true; }
  bool on_number_part(Text part, Code&) { return number_.append(part.data(), part.size()), true; }
  bool on_int64(std::int64_t number, Text, Code&) { return push(number); }
  bool on_uint64(std::uint64_t number, Text, Code&) { return push(number); }
  bool on_double(double number, Text rest, Code&) {
    number_.append(rest.data(), rest.size());
    // Out of a double's range it is left as it is: infinite or zero.
    std::from_chars(number_.data(), number_.data() + number_.size(), number);
    return push(number);
  }
  bool on_bool(bool truth, Code&) { return stack_.push_bool(truth), true; }
  bool on_null(Code&) { return stack_.push_null(), true; }
  bool on_comment_part(Text, Code&) { return true; }
  bool on_comment(Text, Code&) { return true; }

 private:
  bool push(std::int64_t number) { return number_.clear(), stack_.push_int64(number), true; }
  bool push(std::uint64_t number) { return number_.clear(), stack_.push_uint64(number), true; }
  bool push(double number) { return number_.clear(), stack_.push_double(number), true; }

  boost::json::value_stack stack_;
  std::string number_;  // the text so far of the number being read
};

}  // namespace

value parse(std::string_view text, std::string_view source) {
  boost::json::error_code failure;
  boost::json::parse_options options;
  options.max_depth = 32;
  boost::json::basic_parser<Builder> parser(options);
  const std::size_t read = parser.write_some(false, text.data(), text.size(), failure);
  if (!failure && read < text.size()) failure = boost::json::error::extra_data;
  if (failure) throw Error(ErrorKind::kInvalid, "reading {}: not JSON: {}", std::string(source), failure.message());
  return parser.handler().take();
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
