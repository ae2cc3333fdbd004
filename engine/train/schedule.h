// The learning rate over a run: a linear warm-up to the peak, then one of
//
//   cosine     half a cosine from the peak to the end of the run
//   linear     a line from the peak to the end of the run
//   wsd        the peak is kept, and a line falls from it in the last decay_steps (warm-up, stable, decay; Hu et al.
//              2024): a run can be gone on with from before its decay, however long it is to be
//   constant   the peak is kept
#pragma once

#include <cstdint>
#include <string_view>

namespace athanor::train {

enum class ScheduleKind { kCosine, kLinear, kWsd, kConstant };

// Throws kInvalid, with those that there are, for another name.
ScheduleKind schedule_kind(std::string_view name);

struct Schedule {
  ScheduleKind kind = ScheduleKind::kCosine;
  double peak = 0;
  double end = 0;                 // the rate of the last step; not for kConstant
  std::int64_t steps = 1;         // of the run
  std::int64_t warmup_steps = 0;  // in step s of these it is peak · s / warmup_steps
  std::int64_t decay_steps = 0;   // of kWsd; 0: a fifth of the steps
};

// At `step`, from 1.
double learning_rate_at(const Schedule& schedule, std::int64_t step);

}  // namespace athanor::train
