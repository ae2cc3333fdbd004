#include "platform/node/extension_message.h"

#include <cmath>

#include "common/error.h"
#include "common/json.h"
#include "common/relative_path.h"

namespace athanor::node {

namespace {

constexpr std::size_t kNameBytesMax = 64;
constexpr std::size_t kPathBytesMax = 1024;

Beat read_beat(const json::object& from) {
  if (from.size() > kBeatValuesMax) throw Error(ErrorKind::kInvalid, "a beat has at most {} values", kBeatValuesMax);
  Beat beat;
  for (const auto& [name, value] : from) {
    if (name.empty() || name.size() > kNameBytesMax) {
      throw Error(ErrorKind::kInvalid, "a beat's names have 1 to {} bytes", kNameBytesMax);
    }
    boost::json::error_code failure;
    const double number = value.to_number<double>(failure);
    if (failure || !std::isfinite(number)) {
      throw Error(ErrorKind::kInvalid, "a beat's values are numbers; '{}' is none", std::string(name));
    }
    beat.values[std::string(name)] = number;
  }
  return beat;
}

CheckpointComplete read_checkpoint(const json::object& from) {
  CheckpointComplete complete{json::get_string(from, "path")};
  const std::string& path = complete.path;
  if (path.size() > kPathBytesMax || !is_relative_path(path)) {
    throw Error(ErrorKind::kInvalid, "a checkpoint's path is relative to the checkpoints' folder");
  }
  return complete;
}

}  // namespace

ExtensionMessage parse_extension_message(std::string_view line) {
  if (line.size() > kExtensionLineBytesMax) {
    throw Error(ErrorKind::kInvalid, "a line has at most {} bytes", kExtensionLineBytesMax);
  }
  const json::value parsed = json::parse(line, "a line of the contract's socket");
  if (!parsed.is_object()) throw Error(ErrorKind::kInvalid, "a line is a JSON object");
  if (const json::object* beat = json::find_object(parsed.get_object(), "beat")) return read_beat(*beat);
  if (const json::object* done = json::find_object(parsed.get_object(), "checkpoint")) return read_checkpoint(*done);
  return Unknown{};
}

}  // namespace athanor::node
