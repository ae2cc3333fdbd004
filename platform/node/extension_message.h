// One line of our extension's socket (docs/contract.md), parsed. It comes from the job's program: anything may.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <variant>

namespace athanor::node {

inline constexpr std::size_t kExtensionLineBytesMax = 64 << 10;
inline constexpr std::size_t kBeatValuesMax = 64;

struct Beat {
  std::map<std::string, double> values;
};
struct CheckpointComplete {
  std::string path;  // relative to the checkpoints' folder, "/" between names, no "." or ".."
};
// A message that this version does not know; not an error, so that newer programs run here.
struct Unknown {};

using ExtensionMessage = std::variant<Beat, CheckpointComplete, Unknown>;

// Throws kInvalid saying what is wrong with it.
ExtensionMessage parse_extension_message(std::string_view line);

}  // namespace athanor::node
