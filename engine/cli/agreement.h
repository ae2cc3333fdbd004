// All ranks of a run must have been told the same: what each computes by its own settings would otherwise be another
// model's gradients, or another order of the text, and nothing later would notice.
#pragma once

#include "engine/cli/settings.h"
#include "engine/parallel/collectives.h"

namespace athanor::llm {

// Compares what rank 0 has with what every other has: all settings but threads and micro_batch, which are a machine's own
// and change rounding only. `resume`: whether this rank means to go on from a checkpoint. Throws kInvalid on every rank
// when they differ, naming the first difference on those that have it.
void check_agreement(const TrainSettings& settings, bool resume, parallel::Collectives& collectives);

}  // namespace athanor::llm
