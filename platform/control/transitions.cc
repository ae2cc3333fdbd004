#include "platform/control/transitions.h"

#include <algorithm>

#include "common/error.h"

namespace athanor::control {
namespace {

constexpr std::size_t kFinalMetricsMax = 40;

}  // namespace

void enter(Job& job, SecondaryStatus status, std::string message, std::int64_t now_ms) {
  if (!job.transitions.empty()) {
    now_ms = std::max(now_ms, job.transitions.back().start_ms);
    if (job.transitions.back().status == status) return say(job, status, std::move(message), now_ms);
    job.transitions.back().end_ms = now_ms;
  }
  job.transitions.push_back({status, now_ms, std::nullopt, std::move(message)});
  job.secondary = status;
  job.modified_ms = std::max(job.modified_ms, now_ms);
}

void say(Job& job, SecondaryStatus status, std::string message, std::int64_t now_ms) {
  if (job.transitions.empty() || job.transitions.back().status != status) return;
  job.transitions.back().message = std::move(message);
  job.modified_ms = std::max(job.modified_ms, now_ms);
}

void merge_metrics(Job& job, const std::vector<Metric>& metrics) {
  for (const Metric& metric : metrics) {
    const auto it = std::find_if(job.final_metrics.begin(), job.final_metrics.end(),
                                 [&](const Metric& known) { return known.name == metric.name; });
    if (it == job.final_metrics.end()) {
      if (job.final_metrics.size() < kFinalMetricsMax) job.final_metrics.push_back(metric);
    } else if (it->timestamp_ms <= metric.timestamp_ms) {
      *it = metric;
    }
  }
}

void check_record(const JobRecord& record) {
  const Job& job = record.job;
  ATHANOR_ASSERT(!job.name.empty());
  ATHANOR_ASSERT(!job.transitions.empty());
  ATHANOR_ASSERT(job.transitions.back().status == job.secondary);
  ATHANOR_ASSERT(is_terminal(job.status) == (record.step == Step::kReleasing));
  ATHANOR_ASSERT(is_terminal(job.status) == job.transitions.back().end_ms.has_value());
  ATHANOR_ASSERT((job.status == Status::kFailed) <= !job.failure_reason.empty());
  ATHANOR_ASSERT(job.training_end_ms.has_value() <= job.training_start_ms.has_value());
  ATHANOR_ASSERT((record.verdict == Verdict::kNone) <= (record.step <= Step::kTraining));
  ATHANOR_ASSERT((record.step > Step::kTraining) <= (record.verdict != Verdict::kNone));
  const bool has_instances = !record.instances.empty();
  ATHANOR_ASSERT(record.step == Step::kReleasing || has_instances == (record.step != Step::kWaiting));
  ATHANOR_ASSERT(!has_instances || record.instances.size() == static_cast<std::size_t>(job.instance_count));
  for (const InstanceRecord& instance : record.instances) {
    ATHANOR_ASSERT(instance.order_sequence <= record.last_sequence);
    ATHANOR_ASSERT((instance.order >= Order::kStart && instance.order < Order::kTerminate) <= record.started);
    // Artifacts are published before a job is Completed.
    if (job.status == Status::kCompleted && instance.index == 0) ATHANOR_ASSERT(instance.phase == Phase::kPublished);
  }
}

}  // namespace athanor::control
