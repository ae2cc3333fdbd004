// Boost.JSON, and the few accessors that turn a missing or mistyped field into an Error that names it.
#pragma once

#include <boost/json.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace athanor::json {

using boost::json::array;
using boost::json::object;
using boost::json::serialize;
using boost::json::value;

// Parses a whole text. `source` names it in the error ("/opt/ml/input/config/hyperparameters.json").
// Depth is bounded to 32. A number is the double nearest to it, and serialize() writes the shortest that is read back as
// the same. Throws kInvalid.
value parse(std::string_view text, std::string_view source);

// The field, or nothing when it is absent or null. Throws kInvalid when it has another type.
std::optional<std::string> find_string(const object& from, std::string_view key);
std::optional<std::int64_t> find_int(const object& from, std::string_view key);
std::optional<double> find_double(const object& from, std::string_view key);
std::optional<bool> find_bool(const object& from, std::string_view key);
const object* find_object(const object& from, std::string_view key);
const array* find_array(const object& from, std::string_view key);

// The field; throws kInvalid naming it when it is absent or has another type.
std::string get_string(const object& from, std::string_view key);
std::int64_t get_int(const object& from, std::string_view key);

}  // namespace athanor::json
