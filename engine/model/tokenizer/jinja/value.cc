#include "engine/model/tokenizer/jinja/value.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <compare>
#include <limits>

#include "common/counts.h"
#include "common/error.h"

namespace athanor::model::jinja {

namespace {

std::partial_ordering order_of_numbers(const Value& a, const Value& b) {
  if (!a.real() && !b.real()) return a.as_integer() <=> b.as_integer();
  // Which holds every whole number too.
  const auto exact = [](const Value& value) {
    return value.real() ? static_cast<long double>(*value.real()) : static_cast<long double>(value.as_integer());
  };
  static_assert(std::numeric_limits<long double>::digits >= 63);
  return exact(a) <=> exact(b);
}

std::string real_text(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  std::string text = fmt::format("{}", value);
  if (text.find_first_of(".e") == std::string::npos) text += ".0";
  return text;
}

// Writes values, and pays for it: a value that holds another often is written as often.
class Writer {
 public:
  Writer(Text& into, Budget& budget) : into_(into), budget_(budget) {}

  void write(std::string_view text, Origin origin = 0) {
    budget_.spend(text.size());
    into_.append(text, origin);
  }

  // A text between quotes, as Python's repr() or JSON write it.
  void quoted(const Text& text, bool json, bool ensure_ascii = false) {
    budget_.spend(text.bytes.size(), 4);
    const std::string& bytes = text.bytes;
    const bool doubled = json || (bytes.find('\'') != std::string::npos && bytes.find('"') == std::string::npos);
    const char quote = doubled ? '"' : '\'';
    write(std::string_view(&quote, 1));
    for (std::size_t i = 0; i < bytes.size();) {
      const char c = bytes[i];
      std::size_t next = i + 1;
      if (c == quote || c == '\\') {
        into_.append(std::string{'\\', c}, text.origin(i));
      } else if (const std::string escaped = escape(c, json); !escaped.empty()) {
        into_.append(escaped, text.origin(i));
      } else if (ensure_ascii && static_cast<unsigned char>(c) >= 0x7f) {
        into_.append(as_units(bytes, i, next), text.origin(i));
      } else {
        into_.append(text, i, i + 1);
      }
      i = next;
    }
    write(std::string_view(&quote, 1));
  }

  void repr(const Value& value) {
    budget_.spend(1, Budget::kItem);
    if (const Text* text = value.text()) return quoted(*text, false);
    if (const List* list = value.list()) {
      write("[");
      for (std::size_t i = 0; i < list->size(); ++i) {
        if (i > 0) write(", ");
        repr((*list)[i]);
      }
      return write("]");
    }
    if (const Dict* dict = value.dict()) {
      write("{");
      for (std::size_t i = 0; i < dict->size(); ++i) {
        if (i > 0) write(", ");
        quoted({(*dict)[i].first, {}}, false);
        write(": ");
        repr((*dict)[i].second);
      }
      return write("}");
    }
    write(to_text(value, budget_).bytes);
  }

  void json(const Value& value, const JsonStyle& style, int depth) {
    budget_.spend(1, Budget::kItem);
    const auto new_line = [&](int level) {
      if (style.indent >= 0) write("\n" + std::string(static_cast<std::size_t>(style.indent * level), ' '));
    };
    if (value.none()) return write("null");
    if (value.boolean()) return write(*value.boolean() ? "true" : "false");
    if (value.integer()) return write(std::to_string(*value.integer()));
    if (value.real()) {
      const double real = *value.real();
      return write(std::isnan(real)   ? "NaN"
                   : std::isinf(real) ? (real < 0 ? "-Infinity" : "Infinity")
                                      : real_text(real));
    }
    if (const Text* text = value.text()) return quoted(*text, true, style.ensure_ascii);
    if (const List* list = value.list()) {
      if (list->empty()) return write("[]");
      write("[");
      for (std::size_t i = 0; i < list->size(); ++i) {
        if (i > 0) write(style.item_separator);
        new_line(depth + 1);
        json((*list)[i], style, depth + 1);
      }
      new_line(depth);
      return write("]");
    }
    if (const Dict* dict = value.dict()) {
      if (dict->empty()) return write("{}");
      std::vector<const std::pair<std::string, Value>*> items;
      for (const auto& item : *dict) items.push_back(&item);
      if (style.sort_keys) {
        std::stable_sort(items.begin(), items.end(), [](auto* a, auto* b) { return a->first < b->first; });
      }
      write("{");
      for (std::size_t i = 0; i < items.size(); ++i) {
        if (i > 0) write(style.item_separator);
        new_line(depth + 1);
        quoted({items[i]->first, {}}, true, style.ensure_ascii);
        write(style.key_separator);
        json(items[i]->second, style, depth + 1);
      }
      new_line(depth);
      return write("}");
    }
    throw Error(ErrorKind::kInvalid, "a value of the kind {} cannot be written as JSON", kind_name(value));
  }

 private:
  // Of a character that is never written as itself; empty for others.
  static std::string escape(char c, bool json) {
    if (c == '\n') return "\\n";
    if (c == '\r') return "\\r";
    if (c == '\t') return "\\t";
    if (json && c == '\b') return "\\b";
    if (json && c == '\f') return "\\f";
    if (static_cast<unsigned char>(c) >= 0x20 && (c != 0x7f || json)) return "";
    return json ? fmt::format("\\u{:04x}", static_cast<unsigned char>(c))
                : fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
  }

  // The character at `begin` as JSON's UTF-16 units; `end` is set behind it.
  static std::string as_units(std::string_view text, std::size_t begin, std::size_t& end) {
    while (end < text.size() && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) ++end;
    const auto first = static_cast<unsigned char>(text[begin]);
    const std::size_t size = end - begin;
    std::uint32_t code = size == 1 ? first : size < 5 ? first & (0xffu >> (size + 1)) : 0xfffd;
    for (std::size_t i = begin + 1; i < end && size < 5; ++i) {
      code = code << 6 | (static_cast<unsigned char>(text[i]) & 0x3f);
    }
    if (code < 0x10000) return fmt::format("\\u{:04x}", code);
    code -= 0x10000;
    return fmt::format("\\u{:04x}\\u{:04x}", 0xd800 + (code >> 10), 0xdc00 + (code & 0x3ff));
  }

  Text& into_;
  Budget& budget_;
};

}  // namespace

void Text::append(const Text& other, std::size_t begin, std::size_t end) {
  if (!other.origins.empty() || !origins.empty()) {
    origins.resize(bytes.size(), 0);
    if (other.origins.empty()) {
      origins.resize(bytes.size() + end - begin, 0);
    } else {
      origins.insert(origins.end(), other.origins.begin() + static_cast<std::ptrdiff_t>(begin),
                     other.origins.begin() + static_cast<std::ptrdiff_t>(end));
    }
  }
  bytes.append(other.bytes, begin, end - begin);
}

void Text::append(std::string_view other, Origin origin) {
  if (origin != 0 || !origins.empty()) {
    origins.resize(bytes.size(), 0);
    origins.resize(bytes.size() + other.size(), origin);
  }
  bytes.append(other);
}

Text Text::slice(std::size_t begin, std::size_t end) const {
  Text part;
  if (begin < end) part.append(*this, begin, end);
  return part;
}

Value Arguments::get(std::size_t index, std::string_view name, Value otherwise) const {
  if (index < positional.size()) return positional[index];
  for (const auto& [key, value] : named) {
    if (key == name) return value;
  }
  return otherwise;
}

bool Arguments::has(std::size_t index, std::string_view name) const {
  return index < positional.size() ||
         std::any_of(named.begin(), named.end(), [&](const auto& n) { return n.first == name; });
}

void check_arguments(std::string_view kind, const Signature& signature, const Arguments& arguments) {
  const auto& parameters = signature.parameters;
  const auto count = static_cast<std::size_t>(std::find(parameters.begin(), parameters.end(), std::string_view()) -
                                              parameters.begin());
  if (arguments.positional.size() > count) {
    throw Error(ErrorKind::kInvalid, "the {} '{}' takes {}, not {}", kind, signature.name,
                format_count(static_cast<std::int64_t>(count), "argument"), arguments.positional.size());
  }
  for (const auto& [name, value] : arguments.named) {
    const auto place = static_cast<std::size_t>(
        std::find(parameters.begin(), parameters.begin() + static_cast<std::ptrdiff_t>(count), name) -
        parameters.begin());
    if (place == count) {
      throw Error(ErrorKind::kInvalid, "the {} '{}' has no argument '{}' that is supported", kind, signature.name,
                  name);
    }
    if (place < arguments.positional.size()) {
      throw Error(ErrorKind::kInvalid, "the {} '{}' is given its argument '{}' twice", kind, signature.name, name);
    }
  }
}

bool truth(const Value& value) {
  if (value.undefined() || value.none()) return false;
  if (value.real()) return *value.real() != 0;
  if (value.number()) return value.as_integer() != 0;
  if (value.text()) return !value.text()->bytes.empty();
  if (value.list()) return !value.list()->empty();
  if (value.dict()) return !value.dict()->empty();
  return true;
}

std::int64_t Value::as_integer() const {
  if (integer()) return *integer();
  if (boolean()) return *boolean();
  constexpr double kMax = 9223372036854775807.0;  // 2^63
  const double value = *real();
  if (std::isnan(value)) return 0;
  return value >= kMax    ? std::numeric_limits<std::int64_t>::max()
         : value <= -kMax ? std::numeric_limits<std::int64_t>::min()
                          : static_cast<std::int64_t>(value);
}

bool equal(const Value& a, const Value& b, Budget& budget) {
  budget.spend(1, Budget::kItem);
  if (a.number() && b.number()) return order_of_numbers(a, b) == 0;
  if (a.text() && b.text()) {
    const std::string &x = a.text()->bytes, &y = b.text()->bytes;
    if (x.size() != y.size()) return false;
    budget.spend(x.size());
    return x == y;
  }
  if (a.list() && b.list()) {
    return std::equal(a.list()->begin(), a.list()->end(), b.list()->begin(), b.list()->end(),
                      [&](const Value& x, const Value& y) { return equal(x, y, budget); });
  }
  if (a.dict() && b.dict()) {
    return a.dict()->size() == b.dict()->size() &&
           std::all_of(a.dict()->begin(), a.dict()->end(), [&](const auto& item) {
             budget.spend(b.dict()->size());
             const Value* other = find(*b.dict(), item.first);
             return other != nullptr && equal(item.second, *other, budget);
           });
  }
  if (a.function() || b.function()) return a.function() == b.function();
  if (a.space() || b.space()) return a.space() == b.space();
  return (a.undefined() && b.undefined()) || (a.none() && b.none());
}

int compare(const Value& a, const Value& b, Budget& budget) {
  budget.spend(1, Budget::kItem);
  if (a.number() && b.number()) {
    const std::partial_ordering order = order_of_numbers(a, b);
    return order < 0 ? -1 : order > 0;
  }
  if (a.text() && b.text()) {
    budget.spend(std::min(a.text()->bytes.size(), b.text()->bytes.size()));
    return a.text()->bytes.compare(b.text()->bytes);
  }
  if (a.list() && b.list()) {
    const std::size_t common = std::min(a.list()->size(), b.list()->size());
    for (std::size_t i = 0; i < common; ++i) {
      const Value &x = (*a.list())[i], &y = (*b.list())[i];
      if (!equal(x, y, budget)) return compare(x, y, budget);
    }
    return a.list()->size() < b.list()->size() ? -1 : a.list()->size() > b.list()->size();
  }
  throw Error(ErrorKind::kInvalid, "a value of the kind {} has no order with one of the kind {}", kind_name(a),
              kind_name(b));
}

const char* kind_name(const Value& value) {
  return value.undefined()  ? "undefined"
         : value.none()     ? "None"
         : value.boolean()  ? "bool"
         : value.integer()  ? "int"
         : value.real()     ? "float"
         : value.text()     ? "str"
         : value.list()     ? "list"
         : value.dict()     ? "dict"
         : value.function() ? "function"
                            : "namespace";
}

void refuse(std::string_view what, const Value& value) {
  if (value.undefined()) throw Error(ErrorKind::kInvalid, "'{}' is undefined", value.undefined()->name);
  throw Error(ErrorKind::kInvalid, "{} is not possible with a value of the kind {}", what, kind_name(value));
}

Text to_text(const Value& value, Budget& budget) {
  Text made;
  Writer writer(made, budget);
  if (const Text* text = value.text()) {
    budget.spend(text->bytes.size());
    return *text;
  }
  if (value.undefined()) return made;
  if (value.list() || value.dict()) {
    writer.repr(value);
  } else if (value.none()) {
    writer.write("None");
  } else if (value.boolean()) {
    writer.write(*value.boolean() ? "True" : "False");
  } else if (value.integer()) {
    writer.write(std::to_string(*value.integer()));
  } else if (value.real()) {
    writer.write(real_text(*value.real()));
  } else {
    writer.write(fmt::format("<{}>", kind_name(value)));
  }
  return made;
}

Text to_repr(const Value& value, Budget& budget) {
  Text made;
  Writer(made, budget).repr(value);
  return made;
}

Text to_json(const Value& value, const JsonStyle& style, Budget& budget) {
  Text made;
  JsonStyle usual = style;
  if (usual.item_separator.empty()) usual.item_separator = style.indent >= 0 ? "," : ", ";
  Writer(made, budget).json(value, usual, 0);
  // Of one message alone: then its brackets, names and numbers are that message's too.
  const auto first = std::find_if(made.origins.begin(), made.origins.end(), [](Origin origin) { return origin != 0; });
  if (first != made.origins.end() &&
      std::all_of(first, made.origins.end(), [&](Origin origin) { return origin == 0 || origin == *first; })) {
    made.origins.assign(made.bytes.size(), *first);
  }
  return made;
}

Value from_json(const boost::json::value& json, Origin origin) {
  switch (json.kind()) {
    case boost::json::kind::null: return None{};
    case boost::json::kind::bool_: return json.get_bool();
    case boost::json::kind::int64: return json.get_int64();
    case boost::json::kind::uint64: return static_cast<double>(json.get_uint64());
    case boost::json::kind::double_: return json.get_double();
    case boost::json::kind::string: {
      Text text;
      text.append(std::string_view(json.get_string()), origin);
      return text;
    }
    case boost::json::kind::array: {
      List list;
      for (const auto& item : json.get_array()) list.push_back(from_json(item, origin));
      return list;
    }
    case boost::json::kind::object: {
      Dict dict;
      for (const auto& item : json.get_object()) {
        dict.emplace_back(std::string(item.key()), from_json(item.value(), item.key() == "role" ? 0 : origin));
      }
      return dict;
    }
  }
  return None{};
}

const Value* find(const Dict& dict, std::string_view key) {
  for (const auto& item : dict) {
    if (item.first == key) return &item.second;
  }
  return nullptr;
}

}  // namespace athanor::model::jinja
