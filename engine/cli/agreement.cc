#include "engine/cli/agreement.h"

#include <algorithm>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/error.h"

namespace athanor::llm {

namespace {

constexpr std::int64_t kTextBytesMax = 1 << 20;

// "name value" of every setting, each ended by a zero byte.
std::string text_of(TrainSettings settings, bool resume) {
  std::string text = fmt::format("resume {}", resume) + '\0';
  for (const Setting& setting : table_of(settings)) {
    // What a machine does in its own way, without changing the numbers. With bfloat16 micro_batch decides whether gradients are
    // rounded before they are summed.
    const std::string_view own[] = {"threads", "memory", "recompute", "recompute_layers", "micro_batch"};
    const auto found = std::ranges::find(own, setting.name);
    if (found != std::end(own) && (*found != "micro_batch" || settings.train.dtype == "float32")) continue;
    text += setting.name + " " + value_text(setting) + '\0';
  }
  return text;
}

// Rank 0's text, on every rank.
std::string shared(std::string text, parallel::Collectives& collectives) {
  auto size = static_cast<std::int64_t>(text.size());
  collectives.broadcast(std::as_writable_bytes(std::span(&size, 1)), 0);
  if (size < 0 || size > kTextBytesMax) throw Error(ErrorKind::kInvalid, "Rank 0 has settings of {} bytes", size);
  text.resize(static_cast<std::size_t>(size));
  collectives.broadcast(std::as_writable_bytes(std::span(text)), 0);
  return text;
}

// The first (ours, theirs) that differs; both texts do differ.
std::pair<std::string, std::string> difference(const std::string& ours, const std::string& theirs) {
  const auto at = static_cast<std::size_t>(std::mismatch(ours.begin(), ours.end(), theirs.begin(), theirs.end()).first -
                                           ours.begin());
  const std::size_t before = at == 0 ? std::string::npos : ours.rfind('\0', at - 1);
  const std::size_t begin = before == std::string::npos ? 0 : before + 1;
  const auto entry = [&](const std::string& text) { return text.substr(begin, text.find('\0', begin) - begin); };
  return {entry(ours), entry(theirs)};
}

}  // namespace

void check_agreement(const TrainSettings& settings, bool resume, parallel::Collectives& collectives) {
  if (collectives.size() == 1) return;
  const std::string ours = text_of(settings, resume), theirs = shared(ours, collectives);
  float differing = ours == theirs ? 0.0F : 1.0F;
  collectives.all_reduce_sum(std::span(&differing, 1));
  if (differing == 0) return;
  if (ours == theirs) {
    throw Error(ErrorKind::kInvalid, "Of {} ranks {} had other options than rank 0, and say which: give all the same",
                collectives.size(), differing);
  }
  const auto [mine, first] = difference(ours, theirs);
  throw Error(ErrorKind::kInvalid, "Rank {} was told \"{}\", and rank 0 \"{}\": give all ranks the same options",
              collectives.rank(), mine, first);
}

}  // namespace athanor::llm
