#include "platform/api/validation.h"

#include <fmt/format.h>
#include <re2/re2.h>

#include <algorithm>
#include <limits>
#include <map>
#include <optional>
#include <set>

#include "common/error.h"

namespace athanor::api {

namespace {

// A pattern of the service's model (Java's dialect) as RE2 takes it: \p{Alnum} by its POSIX name, repeats of one
// character class beyond RE2's limit of 1000 split, and a trailing (?<!c) taken off (`not_at_end`), since RE2 does not
// look behind.
struct Pattern {
  std::string text;  // as the service shows it
  std::unique_ptr<RE2> expression;
  std::optional<char> not_at_end;

  // The service anchors what it shows, but for the patterns that take anything.
  std::string shown() const { return text.starts_with('^') || text.starts_with('.') ? text : "^" + text; }

  bool matches(const std::string& value) const {
    if (not_at_end && value.ends_with(*not_at_end)) return false;
    return RE2::FullMatch(value, *expression);
  }
};

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  for (std::size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size()) {
    text.replace(at, from.size(), to);
  }
}

void split_large_repeats(std::string& text) {
  static constexpr long kRepeatMax = 1000;
  const RE2 repeat(R"((\[[^\]]*\]|\\.)\{(\d{1,9}),(\d{4,9})\})");
  std::string atom, least_text, most_text;
  re2::StringPiece rest(text);
  std::string result;
  while (true) {
    const char* from = rest.data();
    if (!RE2::FindAndConsume(&rest, repeat, &atom, &least_text, &most_text)) break;
    const std::string whole = fmt::format("{}{{{},{}}}", atom, least_text, most_text);
    result.append(from, static_cast<std::size_t>(rest.data() - from) - whole.size());
    long least = std::stol(least_text);
    for (long most = std::stol(most_text); most > 0; most -= kRepeatMax) {
      const long part_most = std::min(most, kRepeatMax);
      const long part_least = std::min(least, part_most);
      result += fmt::format("{}{{{},{}}}", atom, part_least, part_most);
      least -= part_least;
    }
  }
  text = result + std::string(rest);
}

Pattern compile(std::string_view shape, std::string_view text) {
  Pattern pattern;
  pattern.text = text;
  std::string re2 = pattern.text;
  static constexpr std::string_view kNotBehind = "(?<!";
  if (const auto at = re2.find(kNotBehind); at != std::string::npos && at + kNotBehind.size() + 2 == re2.size()) {
    pattern.not_at_end = re2[at + kNotBehind.size()];
    re2.resize(at);
  }
  replace_all(re2, R"(\p{Alnum})", "[:alnum:]");
  split_large_repeats(re2);
  RE2::Options options(RE2::Quiet);
  pattern.expression = std::make_unique<RE2>(re2, options);
  if (!pattern.expression->ok()) {
    throw Error(ErrorKind::kInvalid, "reading the table of shapes: the pattern of '{}' cannot be used: {}", shape,
                pattern.expression->error());
  }
  return pattern;
}

// The service counts UTF-16 units; a character outside the basic plane is two.
std::size_t length_of(std::string_view utf8) {
  std::size_t length = 0;
  for (const char c : utf8) {
    const auto byte = static_cast<unsigned char>(c);
    length += (byte & 0xC0) != 0x80;
    length += byte >= 0xF0;
  }
  return length;
}

// As the service shows a value in its messages, cut to a bound.
std::string shown(const json::value& value) {
  static constexpr std::size_t kShownMax = 1024;
  std::string text;
  if (value.is_string()) {
    text = std::string(value.get_string());
  } else if (value.is_array()) {
    text = "[";
    for (const auto& item : value.get_array()) {
      if (text.size() > 1) text += ", ";
      text += shown(item);
      if (text.size() > kShownMax) break;
    }
    text += "]";
  } else if (value.is_object()) {
    text = "{";
    for (const auto& [key, item] : value.get_object()) {
      if (text.size() > 1) text += ", ";
      text += fmt::format("{}={}", std::string_view(key), shown(item));
      if (text.size() > kShownMax) break;
    }
    text += "}";
  } else {
    text = json::serialize(value);
  }
  replace_all(text, std::string_view("\0", 1), "\uFFFD");  // exceptions carry C strings
  if (text.size() > kShownMax) {
    text.resize(kShownMax);
    while (!text.empty() && (static_cast<unsigned char>(text.back()) & 0xC0) == 0x80) text.pop_back();
    text += "…";
  }
  return text;
}

const char* token_of(const json::value& value) {
  switch (value.kind()) {
    case boost::json::kind::string: return "STRING_VALUE";
    case boost::json::kind::bool_: return value.get_bool() ? "TRUE_VALUE" : "FALSE_VALUE";
    case boost::json::kind::double_: return "DECIMAL_VALUE";
    default: return "NUMBER_VALUE";
  }
}

[[noreturn]] void unexpected(const json::value& value, std::string_view expected) {
  if (value.is_object()) throw SerializationError("Start of structure or map found where not expected.");
  if (value.is_array()) throw SerializationError("Start of list found where not expected.");
  throw SerializationError(fmt::format("{} can not be converted to {}", token_of(value), expected));
}

std::string lower_first(std::string_view name) {
  std::string text(name);
  if (!text.empty() && text[0] >= 'A' && text[0] <= 'Z') text[0] = static_cast<char>(text[0] - 'A' + 'a');
  return text;
}

enum class Type { kStructure, kList, kMap, kString, kInteger, kLong, kNumber, kBoolean, kTimestamp };

Type type_named(std::string_view shape, std::string_view name) {
  static const std::map<std::string_view, Type> kTypes =
      {{"structure", Type::kStructure}, {"list", Type::kList},       {"map", Type::kMap},
       {"string", Type::kString},       {"integer", Type::kInteger}, {"long", Type::kLong},
       {"float", Type::kNumber},        {"double", Type::kNumber},   {"boolean", Type::kBoolean},
       {"timestamp", Type::kTimestamp}};
  const auto found = kTypes.find(name);
  if (found == kTypes.end()) {
    throw Error(ErrorKind::kInvalid, "reading the table of shapes: '{}' has the unknown type '{}'", shape, name);
  }
  return found->second;
}

}  // namespace

struct Shapes::Shape {
  Type type = Type::kStructure;
  std::optional<std::int64_t> min, max;
  std::optional<Pattern> pattern;
  std::vector<std::string> values;  // of an enumeration
  std::set<std::string> required;
  std::vector<std::pair<std::string, const Shape*>> members;  // of a structure, in the model's order
  const Shape* member = nullptr;                              // of a list
  const Shape* key = nullptr;                                 // of a map
  const Shape* value = nullptr;
};

struct Shapes::Table {
  std::map<std::string, Shape, std::less<>> shapes;
  std::map<std::string, const Shape*, std::less<>> operations;
};

Shapes::Shapes(std::string_view text) {
  auto table = std::make_unique<Table>();
  const auto parsed = json::parse(text, "the table of shapes");
  const auto* shapes = json::find_object(parsed.as_object(), "shapes");
  const auto* operations = json::find_object(parsed.as_object(), "operations");
  if (shapes == nullptr || operations == nullptr) {
    throw Error(ErrorKind::kInvalid, "reading the table of shapes: 'operations' or 'shapes' is missing");
  }
  for (const auto& [name, facts] : *shapes) table->shapes[std::string(name)];
  const auto shape_named = [&](const json::value& name) -> const Shape* {
    const auto found = table->shapes.find(std::string_view(name.as_string()));
    if (found == table->shapes.end()) {
      throw Error(ErrorKind::kInvalid, "reading the table of shapes: '{}' is not there", std::string(name.as_string()));
    }
    return &found->second;
  };
  for (const auto& [name, value] : *shapes) {
    const auto& facts = value.as_object();
    Shape& shape = table->shapes.find(std::string_view(name))->second;
    shape.type = type_named(name, json::get_string(facts, "type"));
    shape.min = json::find_int(facts, "min");
    shape.max = json::find_int(facts, "max");
    if (const auto pattern = json::find_string(facts, "pattern")) shape.pattern = compile(name, *pattern);
    if (const auto* values = json::find_array(facts, "enum")) {
      for (const auto& item : *values) shape.values.emplace_back(item.as_string());
    }
    if (const auto* required = json::find_array(facts, "required")) {
      for (const auto& item : *required) shape.required.emplace(item.as_string());
    }
    if (const auto* members = json::find_object(facts, "members")) {
      for (const auto& [member, inner] : *members) shape.members.emplace_back(member, shape_named(inner));
    }
    if (const auto* inner = facts.if_contains("member")) shape.member = shape_named(*inner);
    if (const auto* inner = facts.if_contains("key")) shape.key = shape_named(*inner);
    if (const auto* inner = facts.if_contains("value")) shape.value = shape_named(*inner);
  }
  for (const auto& [name, shape] : *operations) table->operations[std::string(name)] = shape_named(shape);
  table_ = std::move(table);
}

Shapes::~Shapes() = default;

// One walk over one request.
struct Shapes::Check {
  std::vector<std::string> found;

  void report(const std::string& path, const std::string& value, const std::string& constraint) {
    if (found.size() < kViolationsMax) {
      found.push_back(fmt::format("Value {} at '{}' failed to satisfy constraint: {}", value, path, constraint));
    }
  }

  // What a scalar, or the count of a list or map, must keep: all of it, or with a `value` only what that breaks.
  static std::vector<std::string> constraints(const Shape& shape, const json::value* value) {
    std::vector<std::string> texts;
    const auto bounds = [&](std::string_view what, auto measure) {
      if (shape.max && (value == nullptr || measure() > *shape.max)) {
        texts.push_back(fmt::format("Member must have {} less than or equal to {}", what, *shape.max));
      }
      if (shape.min && (value == nullptr || measure() < *shape.min)) {
        texts.push_back(fmt::format("Member must have {} greater than or equal to {}", what, *shape.min));
      }
    };
    switch (shape.type) {
      case Type::kString: {
        const std::string text(value == nullptr ? std::string_view() : std::string_view(value->get_string()));
        bounds("length", [&] { return static_cast<std::int64_t>(length_of(text)); });
        if (shape.pattern && (value == nullptr || !shape.pattern->matches(text))) {
          texts.push_back("Member must satisfy regular expression pattern: " + shape.pattern->shown());
        }
        if (!shape.values.empty() &&
            (value == nullptr || std::find(shape.values.begin(), shape.values.end(), text) == shape.values.end())) {
          texts.push_back(fmt::format("Member must satisfy enum value set: [{}]", fmt::join(shape.values, ", ")));
        }
        break;
      }
      case Type::kInteger:
      case Type::kLong: bounds("value", [&] { return value->to_number<std::int64_t>(); }); break;
      case Type::kList: bounds("length", [&] { return static_cast<std::int64_t>(value->get_array().size()); }); break;
      case Type::kMap: bounds("length", [&] { return static_cast<std::int64_t>(value->get_object().size()); }); break;
      default: break;
    }
    return texts;
  }

  static bool breaks(const Shape& shape, const json::value& value) { return !constraints(shape, &value).empty(); }

  // As the service words what the scalars in a list or map must keep: all of it, whichever they break.
  static std::string all_constraints(std::string_view what, const Shape& shape) {
    return fmt::format("{} must satisfy constraint: [{}]", what, fmt::join(constraints(shape, nullptr), ", "));
  }

  // Throws SerializationError unless `value` can be of the shape's type.
  static void check_type(const Shape& shape, const json::value& value) {
    switch (shape.type) {
      case Type::kStructure:
      case Type::kMap:
        if (value.is_object()) return;
        if (value.is_array()) throw SerializationError("Start of list found where not expected.");
        throw SerializationError(fmt::format("Unexpected token {}: expected a structure or map", token_of(value)));
      case Type::kList:
        if (value.is_array()) return;
        if (value.is_object()) throw SerializationError("Start of structure or map found where not expected.");
        throw SerializationError(fmt::format("Unexpected token {}: expected a list", token_of(value)));
      case Type::kString:
        if (!value.is_string()) unexpected(value, "a String");
        return;
      case Type::kInteger:
      case Type::kLong: {
        const char* name = shape.type == Type::kInteger ? "an Integer" : "a Long";
        if (!value.is_number()) unexpected(value, name);
        boost::json::error_code failure;
        const auto number = value.to_number<std::int64_t>(failure);
        if (failure) unexpected(value, name);
        if (shape.type == Type::kInteger &&
            (number > std::numeric_limits<std::int32_t>::max() || number < std::numeric_limits<std::int32_t>::min())) {
          unexpected(value, name);
        }
        return;
      }
      case Type::kNumber:
        if (!value.is_number()) unexpected(value, "a Double");
        return;
      case Type::kBoolean:
        if (!value.is_bool()) unexpected(value, "a Boolean");
        return;
      case Type::kTimestamp:
        if (!value.is_number()) unexpected(value, "a Timestamp");
        return;
    }
  }

  // Types first, over the whole request: the service reads all of it before it judges any of it.
  void check_types(const Shape& shape, const json::value& value) {
    if (value.is_null()) return;
    check_type(shape, value);
    if (shape.type == Type::kStructure) {
      for (const auto& [name, inner] : shape.members) {
        if (const auto* member = value.get_object().if_contains(name)) check_types(*inner, *member);
      }
    } else if (shape.type == Type::kList) {
      for (const auto& item : value.get_array()) check_types(*shape.member, item);
    } else if (shape.type == Type::kMap) {
      for (const auto& [key, item] : value.get_object()) check_types(*shape.value, item);
    }
  }

  void check(const Shape& shape, const json::value& value, const std::string& path) {
    for (const auto& broken : constraints(shape, &value)) report(path, "'" + shown(value) + "'", broken);
    if (shape.type == Type::kStructure) check_members(shape, value.get_object(), path);
    if (shape.type == Type::kList) check_items(*shape.member, value, path);
    if (shape.type == Type::kMap) check_entries(shape, value, path);
  }

  void check_members(const Shape& shape, const json::object& value, const std::string& path) {
    const std::string prefix = path.empty() ? "" : path + ".";
    for (const auto& [name, inner] : shape.members) {
      const auto* member = value.if_contains(name);
      const std::string member_path = prefix + lower_first(name);
      if (member != nullptr && !member->is_null()) {
        check(*inner, *member, member_path);
      } else if (shape.required.contains(name)) {
        report(member_path, "null", "Member must not be null");
      }
    }
  }

  void check_items(const Shape& item_shape, const json::value& list, const std::string& path) {
    const bool nested =
        item_shape.type == Type::kStructure || item_shape.type == Type::kList || item_shape.type == Type::kMap;
    std::size_t index = 0;
    bool broken = false;
    for (const auto& item : list.get_array()) {
      ++index;
      if (item.is_null()) {
        report(fmt::format("{}.{}.member", path, index), "null", "Member must not be null");
      } else if (nested) {
        check(item_shape, item, fmt::format("{}.{}.member", path, index));
      } else {
        broken = broken || breaks(item_shape, item);
      }
    }
    if (broken) report(path, "'" + shown(list) + "'", all_constraints("Member", item_shape));
  }

  void check_entries(const Shape& shape, const json::value& map, const std::string& path) {
    bool broken_key = false;
    bool broken_value = false;
    for (const auto& [key, item] : map.get_object()) {
      broken_key = broken_key || breaks(*shape.key, json::value(key));
      if (item.is_null()) {
        report(fmt::format("{}.{}.member", path, std::string_view(key)), "null", "Member must not be null");
      } else if (shape.value->type == Type::kStructure) {
        check(*shape.value, item, fmt::format("{}.{}.member", path, std::string_view(key)));
      } else {
        broken_value = broken_value || breaks(*shape.value, item);
      }
    }
    if (broken_key) report(path, "'" + shown(map) + "'", all_constraints("Map keys", *shape.key));
    if (broken_value) report(path, "'" + shown(map) + "'", all_constraints("Map value", *shape.value));
  }
};

bool Shapes::has(std::string_view operation) const { return table_->operations.contains(operation); }

std::vector<std::string> Shapes::violations(std::string_view operation, const json::value& request) const {
  const auto found = table_->operations.find(operation);
  ATHANOR_ASSERT(found != table_->operations.end());
  if (request.is_null()) throw SerializationError("Unexpected token NULL_VALUE: expected a structure or map");
  Check check;
  check.check_types(*found->second, request);
  check.check(*found->second, request, "");
  return std::move(check.found);
}

std::string violations_text(const std::vector<std::string>& violations) {
  return fmt::format("{} validation error{} detected: {}", violations.size(), violations.size() == 1 ? "" : "s",
                     fmt::join(violations, "; "));
}

}  // namespace athanor::api
