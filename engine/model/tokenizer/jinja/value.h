// The values of a template: Python's, as far as chat templates go. Copies share what they hold, which never changes
// (namespaces apart). A value is nested at most kDepthMax deep: making one that is deeper throws kInvalid.
//
// Every byte of a text knows its origin: the message that it was copied from. It stays with the byte through slices,
// joins, trims and replacements, so that the places of the answers in a rendered chat are known exactly.
#pragma once

#include <algorithm>
#include <array>
#include <boost/json.hpp>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "engine/model/tokenizer/jinja/budget.h"

namespace athanor::model::jinja {

// 0 for what the template itself wrote, else one more than the number of the message.
using Origin = std::int32_t;

struct Text {
  std::string bytes;
  std::vector<Origin> origins;  // of each byte; empty when all are 0

  Origin origin(std::size_t at) const { return origins.empty() ? 0 : origins[at]; }
  void append(const Text& other) { append(other, 0, other.bytes.size()); }
  void append(const Text& other, std::size_t begin, std::size_t end);
  void append(std::string_view other, Origin origin = 0);
  Text slice(std::size_t begin, std::size_t end) const;
};

class Value;
using List = std::vector<Value>;
using Dict = std::vector<std::pair<std::string, Value>>;  // in the order of insertion

struct Undefined {
  std::string name;  // what was looked for
};
struct None {};
struct Arguments;
struct Function {
  std::string name;
  std::function<Value(const Arguments&)> call;
  int depth = 0;  // of the value that `call` holds
};
// What `namespace()` makes: the one thing that can be changed. It may come to hold itself, so that the run owns it and
// empties it at its end; it is no part of a value's depth.
struct Namespace {
  std::map<std::string, Value> fields;
};

class Value {
 public:
  using Held = std::variant<Undefined, None, bool, std::int64_t, double, std::shared_ptr<const Text>,
                            std::shared_ptr<const List>, std::shared_ptr<const Dict>, std::shared_ptr<const Function>,
                            std::shared_ptr<Namespace>>;
  Value() : held_(Undefined{}) {}
  Value(None none) : held_(none) {}
  Value(Undefined undefined) : held_(std::move(undefined)) {}
  Value(bool value) : held_(value) {}
  Value(std::int64_t value) : held_(value) {}
  Value(double value) : held_(value) {}
  Value(Text text) : held_(std::make_shared<const Text>(std::move(text))) {}
  Value(std::string text) : Value(Text{std::move(text), {}}) {}
  Value(const char* text) : Value(std::string(text)) {}
  Value(List list) {
    for (const Value& item : list) depth_ = std::max(depth_, item.depth_);
    check_depth(++depth_, "a value");
    held_ = std::make_shared<const List>(std::move(list));
  }
  Value(Dict dict) {
    for (const auto& item : dict) depth_ = std::max(depth_, item.second.depth_);
    check_depth(++depth_, "a value");
    held_ = std::make_shared<const Dict>(std::move(dict));
  }
  Value(Function function) : depth_(function.depth + 1) {
    check_depth(depth_, "a value");
    held_ = std::make_shared<const Function>(std::move(function));
  }
  Value(std::shared_ptr<Namespace> space) : held_(std::move(space)) {}

  // Null when it is of another kind.
  const Undefined* undefined() const { return std::get_if<Undefined>(&held_); }
  bool none() const { return std::holds_alternative<None>(held_); }
  const bool* boolean() const { return std::get_if<bool>(&held_); }
  const std::int64_t* integer() const { return std::get_if<std::int64_t>(&held_); }
  const double* real() const { return std::get_if<double>(&held_); }
  const Text* text() const { return pointed<const Text>(); }
  const List* list() const { return pointed<const List>(); }
  const Dict* dict() const { return pointed<const Dict>(); }
  const Function* function() const { return pointed<const Function>(); }
  Namespace* space() const { return pointed<Namespace>(); }

  bool number() const { return boolean() || integer() || real(); }
  double as_real() const { return real() ? *real() : static_cast<double>(as_integer()); }
  // Cut off; the nearest that there is for one that is too large.
  std::int64_t as_integer() const;
  // One more than that of the deepest value in it; 0 for what holds none.
  int depth() const { return depth_; }

 private:
  template <typename T>
  T* pointed() const {
    const auto* found = std::get_if<std::shared_ptr<T>>(&held_);
    return found ? found->get() : nullptr;
  }
  Held held_;
  int depth_ = 0;
};

// Of a call.
struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;

  // The argument at `index` or of that name; `otherwise` when it is not given.
  Value get(std::size_t index, std::string_view name, Value otherwise = Value()) const;
  bool has(std::size_t index, std::string_view name) const;
};

// What a method, filter or test is called with, in order.
struct Signature {
  std::string_view name;
  std::array<std::string_view, 4> parameters;  // the rest empty
};
// Throws kInvalid for an argument that is not one of them: nothing that is given is passed over.
void check_arguments(std::string_view kind, const Signature& signature, const Arguments& arguments);
template <std::size_t size>
const Signature* find_signature(const Signature (&table)[size], std::string_view name) {
  const auto found = std::find_if(table, table + size, [&](const Signature& one) { return one.name == name; });
  return found == table + size ? nullptr : found;
}

bool truth(const Value& value);
bool equal(const Value& a, const Value& b, Budget& budget);
// Negative, 0 or positive. Throws kInvalid for kinds that have no order.
int compare(const Value& a, const Value& b, Budget& budget);
// "str", "int", …, for errors.
const char* kind_name(const Value& value);
// Throws the kInvalid that says so: WHAT is not possible with a value of this kind, or with one that is undefined.
[[noreturn]] void refuse(std::string_view what, const Value& value);

// As Python's str() and repr().
Text to_text(const Value& value, Budget& budget);
Text to_repr(const Value& value, Budget& budget);
// As json.dumps().
struct JsonStyle {
  bool ensure_ascii = false;
  int indent = -1;             // negative: on one line
  std::string item_separator;  // empty: the usual one
  std::string key_separator = ": ";
  bool sort_keys = false;
};
Text to_json(const Value& value, const JsonStyle& style, Budget& budget);
// `origin` is given to every text in it, except to the values of the key "role".
Value from_json(const boost::json::value& json, Origin origin = 0);

const Value* find(const Dict& dict, std::string_view key);

}  // namespace athanor::model::jinja
