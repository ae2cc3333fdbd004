// FailureReason: the words in which a job's end is explained, with the service's prefixes and its limit.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "platform/control/record.h"

namespace athanor::control {

inline constexpr std::size_t kFailureReasonCharactersMax = 1024;

// At most `characters_max` characters (not bytes) of UTF-8; what is not UTF-8 becomes '?'.
std::string clip(std::string_view text, std::size_t characters_max);

// "AlgorithmError: TEXT OF /opt/ml/output/failure, exit code: 1". The exit code survives a long text.
std::string algorithm_error(std::uint32_t index, const Exit& exit);

// "InternalServerError: …" of an instance whose agent went away.
std::string lost_agent(std::uint32_t index, std::string_view why);

// A reason that came from elsewhere: clipped, and prefixed with "InternalServerError: " unless it has one of the
// service's prefixes.
std::string with_prefix(std::string_view reason);

}  // namespace athanor::control
