#include "engine/model/tokenizer/jinja/value.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "common/error.h"

namespace athanor::model::jinja {

namespace {

std::string real_text(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  std::string text = fmt::format("{}", value);
  if (text.find_first_of(".e") == std::string::npos) text += ".0";
  return text;
}

// A text between quotes, as Python's repr() or JSON write it.
void append_quoted(const Text& text, bool json, Text& into) {
  const bool doubled =
      json || (text.bytes.find('\'') != std::string::npos && text.bytes.find('"') == std::string::npos);
  const char quote = doubled ? '"' : '\'';
  into.append(std::string_view(&quote, 1));
  for (std::size_t i = 0; i < text.bytes.size(); ++i) {
    const char c = text.bytes[i];
    std::string escaped;
    if (c == quote || c == '\\') {
      escaped = {'\\', c};
    } else if (c == '\n') {
      escaped = "\\n";
    } else if (c == '\r') {
      escaped = "\\r";
    } else if (c == '\t') {
      escaped = "\\t";
    } else if (json && c == '\b') {
      escaped = "\\b";
    } else if (json && c == '\f') {
      escaped = "\\f";
    } else if (static_cast<unsigned char>(c) < 0x20 || (c == 0x7f && !json)) {
      escaped = json ? fmt::format("\\u{:04x}", static_cast<unsigned char>(c))
                     : fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    } else {
      escaped = {c};
    }
    into.append(escaped, text.origin(i));
  }
  into.append(std::string_view(&quote, 1));
}

void append_repr(const Value& value, Text& into) {
  if (const Text* text = value.text()) return append_quoted(*text, false, into);
  if (const List* list = value.list()) {
    into.append("[");
    for (std::size_t i = 0; i < list->size(); ++i) {
      if (i > 0) into.append(", ");
      append_repr((*list)[i], into);
    }
    return into.append("]");
  }
  if (const Dict* dict = value.dict()) {
    into.append("{");
    for (std::size_t i = 0; i < dict->size(); ++i) {
      if (i > 0) into.append(", ");
      append_quoted({(*dict)[i].first, {}}, false, into);
      into.append(": ");
      append_repr((*dict)[i].second, into);
    }
    return into.append("}");
  }
  into.append(to_text(value));
}

struct JsonStyle {
  int indent;
  std::string_view item_separator, key_separator;
  bool sort_keys;
};

void append_json(const Value& value, const JsonStyle& style, int depth, Text& into) {
  const auto new_line = [&](int level) {
    if (style.indent >= 0) into.append("\n" + std::string(static_cast<std::size_t>(style.indent * level), ' '));
  };
  if (value.none()) return into.append("null");
  if (value.boolean()) return into.append(*value.boolean() ? "true" : "false");
  if (value.integer()) return into.append(std::to_string(*value.integer()));
  if (value.real()) {
    const double real = *value.real();
    return into.append(std::isnan(real)   ? "NaN"
                       : std::isinf(real) ? (real < 0 ? "-Infinity" : "Infinity")
                                          : real_text(real));
  }
  if (const Text* text = value.text()) return append_quoted(*text, true, into);
  if (const List* list = value.list()) {
    if (list->empty()) return into.append("[]");
    into.append("[");
    for (std::size_t i = 0; i < list->size(); ++i) {
      if (i > 0) into.append(style.item_separator);
      new_line(depth + 1);
      append_json((*list)[i], style, depth + 1, into);
    }
    new_line(depth);
    return into.append("]");
  }
  if (const Dict* dict = value.dict()) {
    if (dict->empty()) return into.append("{}");
    std::vector<const std::pair<std::string, Value>*> items;
    for (const auto& item : *dict) items.push_back(&item);
    if (style.sort_keys) {
      std::stable_sort(items.begin(), items.end(), [](auto* a, auto* b) { return a->first < b->first; });
    }
    into.append("{");
    for (std::size_t i = 0; i < items.size(); ++i) {
      if (i > 0) into.append(style.item_separator);
      new_line(depth + 1);
      append_quoted({items[i]->first, {}}, true, into);
      into.append(style.key_separator);
      append_json(items[i]->second, style, depth + 1, into);
    }
    new_line(depth);
    return into.append("}");
  }
  throw Error(ErrorKind::kInvalid, "a value of the kind {} cannot be written as JSON", kind_name(value));
}

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

bool truth(const Value& value) {
  if (value.undefined() || value.none()) return false;
  if (value.real()) return *value.real() != 0;
  if (value.number()) return value.as_integer() != 0;
  if (value.text()) return !value.text()->bytes.empty();
  if (value.list()) return !value.list()->empty();
  if (value.dict()) return !value.dict()->empty();
  return true;
}

bool equal(const Value& a, const Value& b) {
  if (a.number() && b.number()) {
    return a.real() || b.real() ? a.as_real() == b.as_real() : a.as_integer() == b.as_integer();
  }
  if (a.text() && b.text()) return a.text()->bytes == b.text()->bytes;
  if (a.list() && b.list()) {
    return std::equal(a.list()->begin(), a.list()->end(), b.list()->begin(), b.list()->end(), equal);
  }
  if (a.dict() && b.dict()) {
    return a.dict()->size() == b.dict()->size() &&
           std::all_of(a.dict()->begin(), a.dict()->end(), [&](const auto& item) {
             const Value* other = find(*b.dict(), item.first);
             return other != nullptr && equal(item.second, *other);
           });
  }
  if (a.function() || b.function()) return a.function() == b.function();
  if (a.space() || b.space()) return a.space() == b.space();
  return (a.undefined() && b.undefined()) || (a.none() && b.none());
}

int compare(const Value& a, const Value& b) {
  if (a.number() && b.number()) {
    const double x = a.as_real(), y = b.as_real();
    return x < y ? -1 : x > y ? 1 : 0;
  }
  if (a.text() && b.text()) return a.text()->bytes.compare(b.text()->bytes);
  if (a.list() && b.list()) {
    const std::size_t common = std::min(a.list()->size(), b.list()->size());
    for (std::size_t i = 0; i < common; ++i) {
      if (!equal((*a.list())[i], (*b.list())[i])) return compare((*a.list())[i], (*b.list())[i]);
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

Text to_text(const Value& value) {
  if (const Text* text = value.text()) return *text;
  Text made;
  if (value.undefined()) return made;
  if (value.list() || value.dict()) {
    append_repr(value, made);
  } else if (value.none()) {
    made.append("None");
  } else if (value.boolean()) {
    made.append(*value.boolean() ? "True" : "False");
  } else if (value.integer()) {
    made.append(std::to_string(*value.integer()));
  } else if (value.real()) {
    made.append(real_text(*value.real()));
  } else {
    made.append(fmt::format("<{}>", kind_name(value)));
  }
  return made;
}

Text to_repr(const Value& value) {
  Text made;
  append_repr(value, made);
  return made;
}

Text to_json(const Value& value, int indent, std::string_view item_separator, std::string_view key_separator,
             bool sort_keys) {
  Text made;
  const std::string_view separator = !item_separator.empty() ? item_separator : indent >= 0 ? "," : ", ";
  append_json(value, {indent, separator, key_separator, sort_keys}, 0, made);
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
