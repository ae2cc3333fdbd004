// How the service prints a training job.
#pragma once

#include "common/json.h"
#include "platform/control/job.h"

namespace athanor::api {

// DescribeTrainingJob's reply: the request's members as the service echoes them, with its defaults, and what became of
// the job. Times are seconds since 1970 with milliseconds.
json::object describe_training_job(const control::Job& job);

// A row of ListTrainingJobs.
json::object summarize_training_job(const control::Job& job);

}  // namespace athanor::api
