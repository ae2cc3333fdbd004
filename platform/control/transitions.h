// How a job's public record changes: rows of SecondaryStatusTransitions, final metrics; and what must always hold of it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "platform/control/record.h"

namespace athanor::control {

// Ends the present transition and begins another; when the job is in `status` already, only its message changes.
// Times never step back.
void enter(Job& job, SecondaryStatus status, std::string message, std::int64_t now_ms);

// Changes the message of the present transition, if it is one of `status`.
void say(Job& job, SecondaryStatus status, std::string message, std::int64_t now_ms);

// Keeps the latest value of each name, at most 40 names (the service's bound on MetricDefinitions).
void merge_metrics(Job& job, const std::vector<Metric>& metrics);

// ATHANOR_ASSERTs the invariants of a record.
void check_record(const JobRecord& record);

}  // namespace athanor::control
