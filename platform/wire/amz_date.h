// Times as SigV4 spells them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace athanor::wire {

// "20130524T000000Z" and back. parse: nothing when it is not of that form.
std::string format_amz_date(std::int64_t wall_ms);
std::optional<std::int64_t> parse_amz_date(std::string_view text);

}  // namespace athanor::wire
