#include "engine/model/stop_strings.h"

#include <algorithm>
#include <utility>

#include "common/error.h"

namespace athanor::model {

StopStrings::StopStrings(std::vector<std::string> stops) : stops_(std::move(stops)) {
  for (const std::string& stop : stops_) {
    if (stop.empty()) throw Error(ErrorKind::kInvalid, "stop must be a text of at least one character");
  }
}

std::string StopStrings::add(std::string_view text) {
  if (found_) return {};
  pending_ += text;
  std::size_t first_end = std::string::npos, begin = 0;
  for (const std::string& stop : stops_) {
    const std::size_t at = pending_.find(stop);
    if (at == std::string::npos) continue;
    // Of two that are whole at the same place, the longer hides the other.
    if (at + stop.size() < first_end || (at + stop.size() == first_end && at < begin)) {
      first_end = at + stop.size();
      begin = at;
      found_ = stop;
    }
  }
  if (found_) return std::exchange(pending_, {}).substr(0, begin);
  std::size_t held = 0;  // the longest end that begins a stop string
  for (const std::string& stop : stops_) {
    for (std::size_t size = std::min(stop.size() - 1, pending_.size()); size > held; --size) {
      if (pending_.ends_with(std::string_view(stop).substr(0, size))) held = size;
    }
  }
  std::string shown = pending_.substr(0, pending_.size() - held);
  pending_.erase(0, shown.size());
  return shown;
}

std::string StopStrings::finish() { return std::exchange(pending_, {}); }

}  // namespace athanor::model
