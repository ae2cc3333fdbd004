#include "engine/model/tokenizer/jinja/builtins.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <iterator>
#include <ranges>

#include "common/error.h"
#include "engine/model/tokenizer/jinja/strings.h"

namespace athanor::model::jinja {

namespace {

constexpr std::int64_t kRangeMax = 100'000;  // Jinja's sandbox has the same

constexpr std::string_view kFilters[] = {"abs",      "attr",    "capitalize", "count", "d",      "default",
                                         "dictsort", "e",       "escape",     "first", "float",  "indent",
                                         "int",      "items",   "join",       "last",  "length", "list",
                                         "lower",    "map",     "max",        "min",   "reject", "rejectattr",
                                         "replace",  "reverse", "round",      "safe",  "select", "selectattr",
                                         "sort",     "string",  "sum",        "title", "tojson", "trim",
                                         "unique",   "upper",   "wordcount"};
constexpr std::string_view kTests[] = {"boolean",   "callable", "defined",  "divisibleby", "eq",   "equalto",
                                       "even",      "false",    "filter",   "float",       "ge",   "greaterthan",
                                       "gt",        "in",       "integer",  "iterable",    "le",   "lessthan",
                                       "lower",     "lt",       "mapping",  "ne",          "none", "number",
                                       "odd",       "sameas",   "sequence", "string",      "test", "true",
                                       "undefined", "upper",    "==",       "!=",          "<",    "<=",
                                       ">",         ">="};

[[noreturn]] void refuse(std::string_view what, const Value& value) {
  if (value.undefined()) throw Error(ErrorKind::kInvalid, "'{}' is undefined", value.undefined()->name);
  throw Error(ErrorKind::kInvalid, "{} is not possible with a value of the kind {}", what, kind_name(value));
}

// Jinja compares texts without regard to case unless told otherwise.
Value folded(const Value& value, bool case_sensitive) {
  return value.text() && !case_sensitive ? Value(in_case(*value.text(), LetterCase::kLower)) : value;
}

Value path_of(const Value& value, const Value& attribute) {
  if (!attribute.text()) return item_of(value, attribute);
  Value found = value;
  for (const Value& part : split(*attribute.text(), std::string("."), -1, false)) {
    const std::string& name = part.text()->bytes;
    std::int64_t index = 0;
    const auto [end, failure] = std::from_chars(name.data(), name.data() + name.size(), index);
    const bool number = failure == std::errc() && end == name.data() + name.size();
    found = number ? item_of(found, index) : item_of(found, part);
  }
  return found;
}

Arguments without_first(const Arguments& arguments, std::size_t count) {
  Arguments rest = arguments;
  rest.positional.erase(rest.positional.begin(),
                        rest.positional.begin() + static_cast<std::ptrdiff_t>(std::min(count, rest.positional.size())));
  return rest;
}

std::string name_argument(std::string_view filter, const Arguments& arguments, std::size_t index) {
  const Value name = arguments.get(index, "");
  if (!name.text()) throw Error(ErrorKind::kInvalid, "the filter '{}' needs a name as argument", filter);
  return name.text()->bytes;
}

List selected(std::string_view name, const Value& input, const Arguments& arguments) {
  const bool by_attribute = name.ends_with("attr"), wanted = name.starts_with("select");
  const std::size_t used = by_attribute ? 1 : 0;
  if (by_attribute && arguments.positional.empty()) {
    throw Error(ErrorKind::kInvalid, "the filter '{}' needs an attribute", name);
  }
  const bool tested = arguments.positional.size() > used;
  const std::string test = tested ? name_argument(name, arguments, used) : "";
  const Arguments rest = without_first(arguments, used + 1);
  List kept;
  for (const Value& item : items_of(input)) {
    const Value value = by_attribute ? path_of(item, arguments.positional[0]) : item;
    if ((tested ? apply_test(test, value, rest) : truth(value)) == wanted) kept.push_back(item);
  }
  return kept;
}

List mapped(const Value& input, const Arguments& arguments) {
  List made;
  if (arguments.positional.empty() && arguments.has(9, "attribute")) {
    const Value attribute = arguments.get(9, "attribute");
    for (const Value& item : items_of(input)) {
      Value value = path_of(item, attribute);
      made.push_back(value.undefined() && arguments.has(9, "default") ? arguments.get(9, "default") : std::move(value));
    }
    return made;
  }
  const std::string filter = name_argument("map", arguments, 0);
  const Arguments rest = without_first(arguments, 1);
  for (const Value& item : items_of(input)) made.push_back(apply_filter(filter, item, rest));
  return made;
}

List sorted(List items, const Value& attribute, bool reverse, bool case_sensitive) {
  const auto key = [&](const Value& item) {
    return folded(attribute.none() ? item : path_of(item, attribute), case_sensitive);
  };
  // compare() may throw, which a standard sort bears; all kinds are ordered among themselves or refused.
  std::stable_sort(items.begin(), items.end(), [&](const Value& a, const Value& b) {
    return reverse ? compare(key(b), key(a)) < 0 : compare(key(a), key(b)) < 0;
  });
  return items;
}

Value to_integer(const Value& input, const Value& otherwise) {
  if (input.real()) return std::abs(*input.real()) < 9e18 ? Value(input.as_integer()) : otherwise;
  if (input.number()) return input.as_integer();
  if (!input.text()) return otherwise;
  std::string text = strip(*input.text(), std::nullopt, true, true).bytes;
  if (text.starts_with('+')) text.erase(0, 1);
  std::int64_t value = 0;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (failure == std::errc() && end == text.data() + text.size()) return value;
  double real = 0;
  const auto [real_end, real_failure] = std::from_chars(text.data(), text.data() + text.size(), real);
  const bool whole = real_failure == std::errc() && real_end == text.data() + text.size() && std::abs(real) < 9e18;
  return whole ? Value(static_cast<std::int64_t>(real)) : otherwise;
}

Value to_real(const Value& input, const Value& otherwise) {
  if (input.number()) return input.as_real();
  if (!input.text()) return otherwise;
  std::string text = strip(*input.text(), std::nullopt, true, true).bytes;
  if (text.starts_with('+')) text.erase(0, 1);
  double value = 0;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
  return failure == std::errc() && end == text.data() + text.size() ? Value(value) : otherwise;
}

Value rounded(const Value& input, const Arguments& arguments) {
  if (!input.number()) refuse("the filter 'round'", input);
  const Value precision = arguments.get(0, "precision", std::int64_t{0}), method = arguments.get(1, "method", "common");
  if (!precision.number() || !method.text()) {
    throw Error(ErrorKind::kInvalid, "the filter 'round' takes a number and a method");
  }
  const double scale = std::pow(10.0, static_cast<double>(precision.as_integer())), scaled = input.as_real() * scale;
  const std::string& how = method.text()->bytes;
  return (how == "ceil" ? std::ceil(scaled) : how == "floor" ? std::floor(scaled) : std::nearbyint(scaled)) / scale;
}

Text escaped(const Text& text) {
  Text made;
  for (std::size_t i = 0; i < text.bytes.size(); ++i) {
    const char c = text.bytes[i];
    const std::string_view name = c == '&'    ? "&amp;"
                                  : c == '<'  ? "&lt;"
                                  : c == '>'  ? "&gt;"
                                  : c == '"'  ? "&#34;"
                                  : c == '\'' ? "&#39;"
                                              : "";
    name.empty() ? made.append(text, i, i + 1) : made.append(name, text.origin(i));
  }
  return made;
}

Text json_of(const Value& input, const Arguments& arguments) {
  const Value indent = arguments.get(1, "indent", None{}), separators = arguments.get(2, "separators", None{});
  std::string item, key = ": ";
  if (separators.list() && separators.list()->size() == 2) {
    item = to_text((*separators.list())[0]).bytes;
    key = to_text((*separators.list())[1]).bytes;
  }
  if (input.undefined()) refuse("the filter 'tojson'", input);
  return to_json(input, indent.number() ? static_cast<int>(std::clamp<std::int64_t>(indent.as_integer(), 0, 100)) : -1,
                 item, key, truth(arguments.get(3, "sort_keys", false)));
}

Value extreme(std::string_view name, const Value& input, const Arguments& arguments) {
  const List items = sorted(items_of(input), arguments.get(1, "attribute", None{}), name == "max",
                            truth(arguments.get(0, "case_sensitive", false)));
  return items.empty() ? Value(Undefined{std::string(name)}) : items[0];
}

Value summed(const Value& input, const Arguments& arguments) {
  const Value attribute = arguments.get(0, "attribute", None{});
  Value sum = arguments.get(1, "start", std::int64_t{0});
  for (const Value& item : items_of(input)) {
    const Value value = attribute.none() ? item : path_of(item, attribute);
    if (!value.number() || !sum.number()) refuse("the filter 'sum'", value.number() ? sum : value);
    sum = value.real() || sum.real() ? Value(sum.as_real() + value.as_real())
                                     : Value(sum.as_integer() + value.as_integer());
  }
  return sum;
}

List unique(const Value& input, const Arguments& arguments) {
  const bool case_sensitive = truth(arguments.get(0, "case_sensitive", false));
  const Value attribute = arguments.get(1, "attribute", None{});
  List kept, keys;
  for (const Value& item : items_of(input)) {
    Value key = folded(attribute.none() ? item : path_of(item, attribute), case_sensitive);
    if (std::any_of(keys.begin(), keys.end(), [&](const Value& other) { return equal(key, other); })) continue;
    keys.push_back(std::move(key));
    kept.push_back(item);
  }
  return kept;
}

List pairs_of(const Value& input) {
  if (input.undefined()) return {};
  if (!input.dict()) refuse("taking the items", input);
  List pairs;
  for (const auto& [key, value] : *input.dict()) pairs.push_back(List{key, value});
  return pairs;
}

}  // namespace

bool is_filter(std::string_view name) {
  return std::find(std::begin(kFilters), std::end(kFilters), name) != std::end(kFilters);
}
bool is_test(std::string_view name) {
  return std::find(std::begin(kTests), std::end(kTests), name) != std::end(kTests);
}

Value apply_filter(std::string_view name, const Value& input, const Arguments& arguments) {
  if (!is_filter(name)) throw Error(ErrorKind::kInvalid, "there is no filter '{}'", name);
  const auto text = [&] { return to_text(input); };
  if (name == "trim") {
    const Value characters = arguments.get(0, "chars", None{});
    return strip(text(), characters.text() ? std::optional(characters.text()->bytes) : std::nullopt, true, true);
  }
  if (name == "tojson") return json_of(input, arguments);
  if (name == "length" || name == "count") return length_of(input);
  if (name == "default" || name == "d") {
    const bool missing = input.undefined() || (truth(arguments.get(1, "boolean", false)) && !truth(input));
    return missing ? arguments.get(0, "default_value", "") : input;
  }
  if (name == "upper") return in_case(text(), LetterCase::kUpper);
  if (name == "lower") return in_case(text(), LetterCase::kLower);
  if (name == "title") return in_case(text(), LetterCase::kTitle);
  if (name == "capitalize") return in_case(text(), LetterCase::kCapitalized);
  if (name == "replace") {
    return replace(text(), to_text(arguments.get(0, "old")).bytes, to_text(arguments.get(1, "new")),
                   arguments.get(2, "count").number() ? arguments.get(2, "count").as_integer() : -1);
  }
  if (name == "string") return text();
  if (name == "safe") return input;
  if (name == "escape" || name == "e") return escaped(text());
  if (name == "join") {
    List items = items_of(input);
    if (arguments.has(1, "attribute")) {
      for (Value& item : items) item = path_of(item, arguments.get(1, "attribute"));
    }
    return join(items, to_text(arguments.get(0, "d", "")));
  }
  if (name == "first" || name == "last") {
    const List items = items_of(input);
    return items.empty()     ? Value(Undefined{"the " + std::string(name) + " item of nothing"})
           : name == "first" ? items.front()
                             : items.back();
  }
  if (name == "list") return items_of(input);
  if (name == "map") return mapped(input, arguments);
  if (name == "select" || name == "reject" || name == "selectattr" || name == "rejectattr") {
    return selected(name, input, arguments);
  }
  if (name == "int") return to_integer(input, arguments.get(0, "default", std::int64_t{0}));
  if (name == "float") return to_real(input, arguments.get(0, "default", 0.0));
  if (name == "abs") {
    if (!input.number()) refuse("the filter 'abs'", input);
    return input.real() ? Value(std::abs(*input.real()))
                        : Value(input.as_integer() < 0 ? -input.as_integer() : input.as_integer());
  }
  if (name == "round") return rounded(input, arguments);
  if (name == "items") return pairs_of(input);
  if (name == "dictsort") {
    return sorted(pairs_of(input),
                  truth(arguments.get(1, "by", "key")) && to_text(arguments.get(1, "by", "key")).bytes == "value"
                      ? Value(std::int64_t{1})
                      : Value(std::int64_t{0}),
                  truth(arguments.get(2, "reverse", false)), truth(arguments.get(0, "case_sensitive", false)));
  }
  if (name == "sort") {
    return sorted(items_of(input), arguments.get(2, "attribute", None{}), truth(arguments.get(0, "reverse", false)),
                  truth(arguments.get(1, "case_sensitive", false)));
  }
  if (name == "reverse") {
    List items = items_of(input);
    std::reverse(items.begin(), items.end());
    return input.text() ? Value(join(items, Text())) : Value(std::move(items));
  }
  if (name == "unique") return unique(input, arguments);
  if (name == "min" || name == "max") return extreme(name, input, arguments);
  if (name == "sum") return summed(input, arguments);
  if (name == "attr") return attribute_of(input, name_argument(name, arguments, 0));
  if (name == "wordcount") return static_cast<std::int64_t>(split(text(), std::nullopt, -1, false).size());
  ATHANOR_ASSERT(name == "indent");
  const Value width = arguments.get(0, "width", std::int64_t{4});
  const Text by =
      width.text() ? *width.text()
                   : Text{std::string(static_cast<std::size_t>(
                                          std::clamp<std::int64_t>(width.number() ? width.as_integer() : 4, 0, 1000)),
                                      ' '),
                          {}};
  return indent(text(), by, truth(arguments.get(1, "first", false)), truth(arguments.get(2, "blank", false)));
}

bool apply_test(std::string_view name, const Value& input, const Arguments& arguments) {
  if (!is_test(name)) throw Error(ErrorKind::kInvalid, "there is no test '{}'", name);
  const Value other = arguments.get(0, "");
  const auto integer = [&] {
    if (!input.number() || input.real()) refuse(fmt::format("the test '{}'", name), input);
    return input.as_integer();
  };
  if (name == "defined") return !input.undefined();
  if (name == "undefined") return input.undefined() != nullptr;
  if (name == "none") return input.none();
  if (name == "string") return input.text() != nullptr;
  if (name == "number") return input.number();
  if (name == "integer") return input.integer() != nullptr;
  if (name == "float") return input.real() != nullptr;
  if (name == "boolean") return input.boolean() != nullptr;
  if (name == "true") return input.boolean() && *input.boolean();
  if (name == "false") return input.boolean() && !*input.boolean();
  if (name == "mapping") return input.dict() != nullptr;
  if (name == "iterable") return input.list() || input.dict() || input.text() || input.undefined();
  if (name == "sequence") return input.list() || input.dict() || input.text() || input.undefined();
  if (name == "callable") return input.function() != nullptr;
  if (name == "filter") return input.text() && is_filter(input.text()->bytes);
  if (name == "test") return input.text() && is_test(input.text()->bytes);
  if (name == "lower") {
    return in_case(to_text(input), LetterCase::kLower).bytes == to_text(input).bytes &&
           in_case(to_text(input), LetterCase::kUpper).bytes != to_text(input).bytes;
  }
  if (name == "upper") {
    return in_case(to_text(input), LetterCase::kUpper).bytes == to_text(input).bytes &&
           in_case(to_text(input), LetterCase::kLower).bytes != to_text(input).bytes;
  }
  if (name == "odd") return integer() % 2 != 0;
  if (name == "even") return integer() % 2 == 0;
  if (arguments.positional.empty()) throw Error(ErrorKind::kInvalid, "the test '{}' needs an argument", name);
  if (name == "divisibleby") {
    if (!other.number() || other.as_integer() == 0) refuse("dividing", other);
    return integer() % other.as_integer() == 0;
  }
  if (name == "eq" || name == "equalto" || name == "==") return equal(input, other);
  if (name == "ne" || name == "!=") return !equal(input, other);
  if (name == "in") return contains(other, input);
  if (name == "sameas") {
    return input.list() == other.list() && input.dict() == other.dict() &&
           std::string_view(kind_name(input)) == kind_name(other) && equal(input, other);
  }
  const int order = compare(input, other);
  if (name == "lt" || name == "lessthan" || name == "<") return order < 0;
  if (name == "le" || name == "<=") return order <= 0;
  if (name == "gt" || name == "greaterthan" || name == ">") return order > 0;
  return order >= 0;
}

std::optional<Value> global(std::string_view name, std::time_t now) {
  if (name == "range") {
    return Function{"range", [](const Arguments& given) -> Value {
                      for (const Value& value : given.positional) {
                        if (!value.number() || value.real()) refuse("range()", value);
                      }
                      const std::size_t count = given.positional.size();
                      if (count == 0 || count > 3) {
                        throw Error(ErrorKind::kInvalid, "range() takes one to three numbers");
                      }
                      std::int64_t at = count > 1 ? given.positional[0].as_integer() : 0;
                      const std::int64_t end = given.positional[count > 1 ? 1 : 0].as_integer(),
                                         by = count > 2 ? given.positional[2].as_integer() : 1;
                      if (by == 0) throw Error(ErrorKind::kInvalid, "range() cannot go in steps of 0");
                      List list;
                      for (; by > 0 ? at < end : at > end;) {
                        if (static_cast<std::int64_t>(list.size()) == kRangeMax) {
                          throw Error(ErrorKind::kInvalid, "range() has more than {} numbers", kRangeMax);
                        }
                        list.push_back(at);
                        if (__builtin_add_overflow(at, by, &at)) break;
                      }
                      return list;
                    }};
  }
  if (name == "namespace") {
    return Function{"namespace", [](const Arguments& given) -> Value {
                      auto space = std::make_shared<Namespace>();
                      for (const Value& value : given.positional) {
                        if (!value.dict()) refuse("namespace()", value);
                        for (const auto& [key, field] : *value.dict()) space->fields[key] = field;
                      }
                      for (const auto& [key, value] : given.named) space->fields[key] = value;
                      return space;
                    }};
  }
  if (name == "dict") {
    return Function{"dict", [](const Arguments& given) -> Value {
                      Dict dict;
                      for (const Value& value : given.positional) {
                        if (!value.dict()) refuse("dict()", value);
                        dict.insert(dict.end(), value.dict()->begin(), value.dict()->end());
                      }
                      for (const auto& named : given.named) {
                        const auto known = std::find_if(dict.begin(), dict.end(),
                                                        [&](const auto& item) { return item.first == named.first; });
                        known == dict.end() ? dict.push_back(named) : void(known->second = named.second);
                      }
                      return dict;
                    }};
  }
  if (name == "raise_exception") {
    return Function{"raise_exception", [](const Arguments& given) -> Value {
                      throw Error(ErrorKind::kInvalid, "the template refuses this conversation: {}",
                                  to_text(given.get(0, "message")).bytes);
                    }};
  }
  if (name == "strftime_now") {
    return Function{"strftime_now", [now](const Arguments& given) -> Value {
                      const std::string format = to_text(given.get(0, "format")).bytes;
                      std::tm local{};
                      localtime_r(&now, &local);
                      char written[512];
                      const std::size_t size =
                          format.size() > 200 ? 0 : std::strftime(written, sizeof written, format.c_str(), &local);
                      if (size == 0 && !format.empty()) {
                        throw Error(ErrorKind::kInvalid, "strftime_now('{}') gives no date", format);
                      }
                      return std::string(written, size);
                    }};
  }
  return std::nullopt;
}

List items_of(const Value& value) {
  if (value.undefined()) return {};
  if (value.list()) return *value.list();
  List items;
  if (value.dict()) {
    for (const auto& item : *value.dict()) items.push_back(item.first);
    return items;
  }
  if (!value.text()) refuse("going through the items", value);
  const std::vector<std::size_t> starts = character_starts(value.text()->bytes);
  for (std::size_t i = 0; i + 1 < starts.size(); ++i) items.push_back(value.text()->slice(starts[i], starts[i + 1]));
  return items;
}

std::int64_t length_of(const Value& value) {
  if (value.undefined()) return 0;
  if (value.text()) return static_cast<std::int64_t>(character_count(value.text()->bytes));
  if (value.list()) return static_cast<std::int64_t>(value.list()->size());
  if (value.dict()) return static_cast<std::int64_t>(value.dict()->size());
  refuse("taking the length", value);
}

Value attribute_of(const Value& value, std::string_view name) {
  if (value.undefined()) refuse("", value);
  if (const Namespace* space = value.space()) {
    const auto found = space->fields.find(std::string(name));
    if (found != space->fields.end()) return found->second;
  }
  if (value.dict()) {
    if (const Value* found = find(*value.dict(), name)) return *found;
  }
  return Undefined{std::string(name)};
}

Value item_of(const Value& value, const Value& key) {
  if (value.undefined()) refuse("", value);
  if (key.text()) return attribute_of(value, key.text()->bytes);
  if ((value.list() || value.text()) && key.number() && !key.real()) {
    const std::int64_t length = length_of(value);
    const std::int64_t at = key.as_integer() < 0 ? key.as_integer() + length : key.as_integer();
    if (at < 0 || at >= length) return Undefined{fmt::format("item {}", key.as_integer())};
    if (value.list()) return (*value.list())[static_cast<std::size_t>(at)];
    const std::vector<std::size_t> starts = character_starts(value.text()->bytes);
    return value.text()->slice(starts[static_cast<std::size_t>(at)], starts[static_cast<std::size_t>(at) + 1]);
  }
  return Undefined{to_repr(key).bytes};
}

bool contains(const Value& container, const Value& item) {
  if (container.text()) {
    if (!item.text()) refuse("looking into a text for a value that is no text", item);
    return container.text()->bytes.find(item.text()->bytes) != std::string::npos;
  }
  if (container.dict()) return item.text() && find(*container.dict(), item.text()->bytes) != nullptr;
  const List items = items_of(container);
  return std::any_of(items.begin(), items.end(), [&](const Value& other) { return equal(item, other); });
}

}  // namespace athanor::model::jinja
