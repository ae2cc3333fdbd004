#include "engine/model/tokenizer/jinja/filters.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <iterator>
#include <limits>
#include <optional>
#include <vector>

#include "common/error.h"
#include "engine/model/tokenizer/jinja/access.h"
#include "engine/model/tokenizer/jinja/strings.h"
#include "engine/model/tokenizer/jinja/tests.h"

namespace athanor::model::jinja {

namespace {

constexpr Signature kFilters[] = {
    {"abs", {}},
    {"attr", {"name"}},
    {"capitalize", {}},
    {"count", {}},
    {"d", {"default_value", "boolean"}},
    {"default", {"default_value", "boolean"}},
    {"dictsort", {"case_sensitive", "by", "reverse"}},
    {"e", {}},
    {"escape", {}},
    {"first", {}},
    {"float", {"default"}},
    {"indent", {"width", "first", "blank"}},
    {"int", {"default", "base"}},
    {"items", {}},
    {"join", {"d", "attribute"}},
    {"last", {}},
    {"length", {}},
    {"list", {}},
    {"lower", {}},
    {"max", {"case_sensitive", "attribute"}},
    {"min", {"case_sensitive", "attribute"}},
    {"replace", {"old", "new", "count"}},
    {"reverse", {}},
    {"round", {"precision", "method"}},
    {"safe", {}},
    {"sort", {"reverse", "case_sensitive", "attribute"}},
    {"string", {}},
    {"sum", {"attribute", "start"}},
    {"title", {}},
    {"tojson", {"ensure_ascii", "indent", "separators", "sort_keys"}},
    {"trim", {"chars"}},
    {"unique", {"case_sensitive", "attribute"}},
    {"upper", {}},
    {"wordcount", {}},
};
// Their arguments are those of another filter or test.
constexpr std::string_view kMapping[] = {"map", "reject", "rejectattr", "select", "selectattr"};

// Python's numbers have no end.
[[noreturn]] void refuse_too_large() { throw Error(ErrorKind::kInvalid, "a number becomes too large"); }

// Jinja compares texts without regard to case unless told otherwise.
Value folded(const Value& value, bool case_sensitive, Budget& budget) {
  if (value.text()) budget.spend(value.text()->bytes.size());
  return value.text() && !case_sensitive ? Value(in_case(*value.text(), LetterCase::kLower)) : value;
}

Value path_of(const Value& value, const Value& attribute, Budget& budget) {
  if (!attribute.text()) return item_of(value, attribute, budget);
  Value found = value;
  for (const Value& part : split(*attribute.text(), std::string("."), -1, false, budget)) {
    const std::string& name = part.text()->bytes;
    std::int64_t index = 0;
    const auto [end, failure] = std::from_chars(name.data(), name.data() + name.size(), index);
    const bool number = failure == std::errc() && end == name.data() + name.size();
    found = number ? item_of(found, index, budget) : item_of(found, part, budget);
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

List selected(std::string_view name, const Value& input, const Arguments& arguments, Budget& budget) {
  const bool by_attribute = name.ends_with("attr"), wanted = name.starts_with("select");
  const std::size_t used = by_attribute ? 1 : 0;
  if (by_attribute && arguments.positional.empty()) {
    throw Error(ErrorKind::kInvalid, "the filter '{}' needs an attribute", name);
  }
  const bool tested = arguments.positional.size() > used;
  const std::string test = tested ? name_argument(name, arguments, used) : "";
  const Arguments rest = without_first(arguments, used + 1);
  List kept;
  for (const Value& item : items_of(input, budget)) {
    const Value value = by_attribute ? path_of(item, arguments.positional[0], budget) : item;
    if ((tested ? apply_test(test, value, rest, budget) : truth(value)) == wanted) kept.push_back(item);
  }
  return kept;
}

List mapped(const Value& input, const Arguments& arguments, Budget& budget) {
  List made;
  constexpr std::size_t kByName = std::size_t(-1);
  if (arguments.positional.empty() && arguments.has(kByName, "attribute")) {
    check_arguments("filter", {"map", {"attribute", "default"}}, arguments);
    const Value attribute = arguments.get(kByName, "attribute");
    for (const Value& item : items_of(input, budget)) {
      Value value = path_of(item, attribute, budget);
      made.push_back(value.undefined() && arguments.has(kByName, "default") ? arguments.get(kByName, "default")
                                                                            : std::move(value));
    }
    return made;
  }
  const std::string filter = name_argument("map", arguments, 0);
  const Arguments rest = without_first(arguments, 1);
  for (const Value& item : items_of(input, budget)) made.push_back(apply_filter(filter, item, rest, budget));
  return made;
}

List sorted(const List& items, const Value& attribute, bool reverse, bool case_sensitive, Budget& budget) {
  std::vector<std::pair<Value, const Value*>> keyed;
  for (const Value& item : items) {
    keyed.emplace_back(folded(attribute.none() ? item : path_of(item, attribute, budget), case_sensitive, budget),
                       &item);
  }
  // compare() may throw, which a standard sort bears; all kinds are ordered among themselves or refused.
  std::stable_sort(keyed.begin(), keyed.end(), [&](const auto& a, const auto& b) {
    return reverse ? compare(b.first, a.first, budget) < 0 : compare(a.first, b.first, budget) < 0;
  });
  List made;
  for (const auto& one : keyed) made.push_back(*one.second);
  return made;
}

// What Python's int() reads in a text; nothing when it is no whole number. Its digits may have single underscores between.
std::optional<std::int64_t> whole_number(std::string_view text, int base) {
  const bool negative = text.starts_with('-');
  if (negative || text.starts_with('+')) text.remove_prefix(1);
  const std::string_view prefix = base == 16 ? "0x" : base == 8 ? "0o" : base == 2 ? "0b" : "";
  if (!prefix.empty() && text.size() > 2 && text[0] == '0' && (text[1] | 0x20) == prefix[1]) {
    text.remove_prefix(2);
    if (text.starts_with('_')) text.remove_prefix(1);
  }
  std::string digits = negative ? "-" : "";
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '_') {
      digits += text[i];
    } else if (i == 0 || i + 1 == text.size() || text[i - 1] == '_') {
      return std::nullopt;
    }
  }
  if (text.starts_with('-')) return std::nullopt;
  std::int64_t value = 0;
  const auto [end, failure] = std::from_chars(digits.data(), digits.data() + digits.size(), value, base);
  if (end != digits.data() + digits.size() || failure == std::errc::invalid_argument) return std::nullopt;
  if (failure != std::errc()) refuse_too_large();
  return value;
}

std::optional<double> real_number(std::string_view text) {
  const bool plus = text.starts_with('+');
  if (plus) text.remove_prefix(1);
  if (plus && text.starts_with('-')) return std::nullopt;
  double value = 0;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
  return failure == std::errc() && end == text.data() + text.size() ? std::optional(value) : std::nullopt;
}

Value to_integer(const Value& input, const Value& otherwise, const Value& base) {
  if (!base.integer() || *base.integer() < 2 || *base.integer() > 36) {
    throw Error(ErrorKind::kInvalid, "the filter 'int' is supported with a base from 2 to 36 alone");
  }
  const auto cut_off = [](double value) -> Value {
    if (!(std::abs(value) < 9.2e18)) refuse_too_large();
    return static_cast<std::int64_t>(value);
  };
  if (input.real()) return std::isfinite(*input.real()) ? cut_off(*input.real()) : otherwise;
  if (input.number()) return input.as_integer();
  if (!input.text()) return otherwise;
  const std::string text = strip(*input.text(), std::nullopt, true, true).bytes;
  if (const auto whole = whole_number(text, static_cast<int>(*base.integer()))) return *whole;
  const std::optional<double> real = real_number(text);
  return real && std::isfinite(*real) ? cut_off(*real) : otherwise;
}

Value to_real(const Value& input, const Value& otherwise) {
  if (input.number()) return input.as_real();
  if (!input.text()) return otherwise;
  const std::optional<double> value = real_number(strip(*input.text(), std::nullopt, true, true).bytes);
  return value ? Value(*value) : otherwise;
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

Text json_of(const Value& input, const Arguments& arguments, Budget& budget) {
  if (input.undefined()) refuse("the filter 'tojson'", input);
  JsonStyle style;
  const Value indent = arguments.get(1, "indent", None{}), separators = arguments.get(2, "separators", None{});
  style.ensure_ascii = truth(arguments.get(0, "ensure_ascii", false));
  style.sort_keys = truth(arguments.get(3, "sort_keys", false));
  if (indent.number()) style.indent = static_cast<int>(std::clamp<std::int64_t>(indent.as_integer(), 0, 100));
  if (separators.list() && separators.list()->size() == 2) {
    style.item_separator = to_text((*separators.list())[0], budget).bytes;
    style.key_separator = to_text((*separators.list())[1], budget).bytes;
  }
  return to_json(input, style, budget);
}

Value extreme(std::string_view name, const Value& input, const Arguments& arguments, Budget& budget) {
  const List items = sorted(items_of(input, budget), arguments.get(1, "attribute", None{}), name == "max",
                            truth(arguments.get(0, "case_sensitive", false)), budget);
  return items.empty() ? Value(Undefined{std::string(name)}) : items[0];
}

Value summed(const Value& input, const Arguments& arguments, Budget& budget) {
  const Value attribute = arguments.get(0, "attribute", None{});
  Value sum = arguments.get(1, "start", std::int64_t{0});
  for (const Value& item : items_of(input, budget)) {
    const Value value = attribute.none() ? item : path_of(item, attribute, budget);
    if (!value.number() || !sum.number()) refuse("the filter 'sum'", value.number() ? sum : value);
    std::int64_t whole = 0;
    if (value.real() || sum.real()) {
      sum = sum.as_real() + value.as_real();
    } else if (__builtin_add_overflow(sum.as_integer(), value.as_integer(), &whole)) {
      refuse_too_large();
    } else {
      sum = whole;
    }
  }
  return sum;
}

List unique(const Value& input, const Arguments& arguments, Budget& budget) {
  const bool case_sensitive = truth(arguments.get(0, "case_sensitive", false));
  const Value attribute = arguments.get(1, "attribute", None{});
  List kept, keys;
  for (const Value& item : items_of(input, budget)) {
    Value key = folded(attribute.none() ? item : path_of(item, attribute, budget), case_sensitive, budget);
    if (std::any_of(keys.begin(), keys.end(), [&](const Value& other) { return equal(key, other, budget); })) continue;
    keys.push_back(std::move(key));
    kept.push_back(item);
  }
  return kept;
}

List pairs_of(const Value& input, Budget& budget) {
  if (input.undefined()) return {};
  if (!input.dict()) refuse("taking the items", input);
  budget.spend(input.dict()->size(), 2 * Budget::kItem);
  List pairs;
  for (const auto& [key, value] : *input.dict()) pairs.push_back(List{key, value});
  return pairs;
}

}  // namespace

bool is_filter(std::string_view name) {
  return find_signature(kFilters, name) ||
         std::find(std::begin(kMapping), std::end(kMapping), name) != std::end(kMapping);
}

Value apply_filter(std::string_view name, const Value& input, const Arguments& arguments, Budget& budget) {
  if (!is_filter(name)) throw Error(ErrorKind::kInvalid, "there is no filter '{}'", name);
  if (const Signature* signature = find_signature(kFilters, name)) check_arguments("filter", *signature, arguments);
  budget.spend(1, Budget::kItem);
  const auto text = [&] {
    Text made = to_text(input, budget);
    budget.spend(made.bytes.size(), 2);
    return made;
  };
  if (name == "trim") {
    const Value characters = arguments.get(0, "chars", None{});
    return strip(text(), characters.text() ? std::optional(characters.text()->bytes) : std::nullopt, true, true);
  }
  if (name == "tojson") return json_of(input, arguments, budget);
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
    return replace(text(), to_text(arguments.get(0, "old"), budget).bytes, to_text(arguments.get(1, "new"), budget),
                   arguments.get(2, "count").number() ? arguments.get(2, "count").as_integer() : -1, budget);
  }
  if (name == "string") return text();
  if (name == "safe") return input;
  if (name == "escape" || name == "e") return escaped(text());
  if (name == "join") {
    List items = items_of(input, budget);
    if (arguments.has(1, "attribute")) {
      for (Value& item : items) item = path_of(item, arguments.get(1, "attribute"), budget);
    }
    return join(items, to_text(arguments.get(0, "d", ""), budget), budget);
  }
  if (name == "first" || name == "last") {
    if (input.text() && !input.text()->bytes.empty()) {
      return item_of(input, std::int64_t{name == "first" ? 0 : -1}, budget);
    }
    const List items = items_of(input, budget);
    return items.empty()     ? Value(Undefined{"the " + std::string(name) + " item of nothing"})
           : name == "first" ? items.front()
                             : items.back();
  }
  if (name == "list") return items_of(input, budget);
  if (name == "map") return mapped(input, arguments, budget);
  if (name == "select" || name == "reject" || name == "selectattr" || name == "rejectattr") {
    return selected(name, input, arguments, budget);
  }
  if (name == "int")
    return to_integer(input, arguments.get(0, "default", std::int64_t{0}), arguments.get(1, "base", std::int64_t{10}));
  if (name == "float") return to_real(input, arguments.get(0, "default", 0.0));
  if (name == "abs") {
    if (!input.number()) refuse("the filter 'abs'", input);
    if (input.real()) return std::abs(*input.real());
    if (input.as_integer() == std::numeric_limits<std::int64_t>::min()) refuse_too_large();
    return std::abs(input.as_integer());
  }
  if (name == "round") return rounded(input, arguments);
  if (name == "items") return pairs_of(input, budget);
  if (name == "dictsort") {
    return sorted(pairs_of(input, budget),
                  truth(arguments.get(1, "by", "key")) &&
                          to_text(arguments.get(1, "by", "key"), budget).bytes == "value"
                      ? Value(std::int64_t{1})
                      : Value(std::int64_t{0}),
                  truth(arguments.get(2, "reverse", false)), truth(arguments.get(0, "case_sensitive", false)), budget);
  }
  if (name == "sort") {
    return sorted(items_of(input, budget), arguments.get(2, "attribute", None{}),
                  truth(arguments.get(0, "reverse", false)), truth(arguments.get(1, "case_sensitive", false)), budget);
  }
  if (name == "reverse") {
    List items = items_of(input, budget);
    std::reverse(items.begin(), items.end());
    return input.text() ? Value(join(items, Text(), budget)) : Value(std::move(items));
  }
  if (name == "unique") return unique(input, arguments, budget);
  if (name == "min" || name == "max") return extreme(name, input, arguments, budget);
  if (name == "sum") return summed(input, arguments, budget);
  if (name == "attr") return attribute_of(input, name_argument(name, arguments, 0), budget);
  if (name == "wordcount") return static_cast<std::int64_t>(split(text(), std::nullopt, -1, false, budget).size());
  ATHANOR_ASSERT(name == "indent");
  const Value width = arguments.get(0, "width", std::int64_t{4});
  const Text by =
      width.text() ? *width.text()
                   : Text{std::string(static_cast<std::size_t>(
                                          std::clamp<std::int64_t>(width.number() ? width.as_integer() : 4, 0, 1000)),
                                      ' '),
                          {}};
  return indent(text(), by, truth(arguments.get(1, "first", false)), truth(arguments.get(2, "blank", false)), budget);
}

}  // namespace athanor::model::jinja
