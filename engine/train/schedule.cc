#include "engine/train/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <utility>

#include "common/error.h"

namespace athanor::train {

namespace {

constexpr std::pair<std::string_view, ScheduleKind> kKinds[] = {{"cosine", ScheduleKind::kCosine},
                                                                {"linear", ScheduleKind::kLinear},
                                                                {"wsd", ScheduleKind::kWsd},
                                                                {"constant", ScheduleKind::kConstant}};

// How much of peak − end is left at a part of the way, from 0 to 1.
double left_at(ScheduleKind kind, double part) {
  return kind == ScheduleKind::kCosine ? 0.5 * (1 + std::cos(std::numbers::pi * part)) : 1 - part;
}

}  // namespace

ScheduleKind schedule_kind(std::string_view name) {
  for (const auto& [known, kind] : kKinds) {
    if (name == known) return kind;
  }
  throw Error(ErrorKind::kInvalid, "schedule is \"{}\"; it must be cosine, linear, wsd or constant", name);
}

double learning_rate_at(const Schedule& s, std::int64_t step) {
  if (step <= s.warmup_steps) return s.peak * static_cast<double>(step) / static_cast<double>(s.warmup_steps);
  if (s.kind == ScheduleKind::kConstant) return s.peak;
  if (step >= s.steps) return s.end;
  std::int64_t begin = s.warmup_steps;  // the last step at the peak
  if (s.kind == ScheduleKind::kWsd) {
    const std::int64_t decay = s.decay_steps > 0 ? s.decay_steps : std::max<std::int64_t>(1, s.steps / 5);
    begin = std::max(begin, s.steps - decay);
  }
  if (step <= begin) return s.peak;
  const double part = static_cast<double>(step - begin) / static_cast<double>(s.steps - begin);
  return s.end + (s.peak - s.end) * left_at(s.kind, part);
}

}  // namespace athanor::train
