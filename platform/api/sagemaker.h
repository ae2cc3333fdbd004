// SageMaker's training-job operations, and Athanor's own beside them, over api::TrainingJobs.
// Reference: the service's API reference, version 2017-07-24; JSON 1.1. Any thread.
//
// A request is judged in the service's order: JSON, types, constraints of the shapes (validation.h), then what we do not
// honour yet (honoured.h), then the meaning.
#pragma once

#include <boost/asio/thread_pool.hpp>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>

#include "common/json.h"
#include "platform/api/training_jobs.h"
#include "platform/api/validation.h"
#include "platform/storage/s3_uri.h"

namespace athanor::api {

class SageMakerApi {
 public:
  // How to learn that a channel has nothing to bring before a job is made of it. Without `has_objects` nobody is asked, and
  // the job finds out when it downloads; as it does of what vanishes meanwhile.
  struct Inputs {
    std::string region;
    std::function<bool(const storage::S3Uri& prefix)> has_objects;  // on a worker; one row of an index, not a walk
  };

  // Both outlive this. Lists and questions to the object store are the workers'; a description is given at once.
  SageMakerApi(TrainingJobs& jobs, boost::asio::thread_pool& workers, Inputs inputs = {});

  // `target` is X-Amz-Target: "SageMaker.CreateTrainingJob", "Athanor.GetProgress". Returns the reply's JSON (empty for
  // operations that return nothing). Throws ServiceError.
  wire::Awaitable<std::shared_ptr<const std::string>> call(std::string target, std::string body);

 private:
  wire::Awaitable<std::string> create(json::value request);
  wire::Awaitable<void> stop(std::string name);
  wire::Awaitable<void> remove(std::string name);
  std::shared_ptr<const std::string> describe(const std::string& name);
  std::string list(const json::object& request) const;
  std::string list_tags(const json::object& request) const;
  std::string progress(const std::string& name) const;

  wire::Awaitable<void> check_inputs(const json::object& request) const;

  TrainingJobs& jobs_;
  boost::asio::thread_pool& workers_;
  const Inputs inputs_;
  const Shapes shapes_;

  // Replies of DescribeTrainingJob by job, each good for as long as the job's snapshot is the one it was made of.
  struct Described {
    std::shared_ptr<const control::Job> job;
    std::shared_ptr<const std::string> text;
  };
  std::mutex mutex_;
  std::unordered_map<std::string, Described> described_;  // guarded by mutex_; at most kDescribedMax
  static constexpr std::size_t kDescribedMax = 1000;
};

}  // namespace athanor::api
