// What the SageMaker front needs of the control plane; platform/server implements it.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "common/json.h"
#include "platform/control/job.h"
#include "platform/wire/http.h"

namespace athanor::api {

// Calls may come from any I/O thread. An awaitable resumes on the caller's executor, and only once the change is
// durable. Errors are athanor::Error; kinds and texts as each call says.
class TrainingJobs {
 public:
  virtual ~TrainingJobs() = default;

  // Takes a request that passed validation; returns the job's ARN.
  // kConflict: the name is taken. kExhausted: more instances asked for than there can ever be.
  virtual wire::Awaitable<std::string> create(std::string name, json::object request) = 0;
  // The job as it is now, or null. Never waits: a snapshot that nobody changes.
  virtual std::shared_ptr<const control::Job> find(std::string_view name) const = 0;
  // All jobs as they are now, in the order of creation.
  virtual std::vector<std::shared_ptr<const control::Job>> list() const = 0;
  // kNotFound; kConflict with the service's wording when the job has ended.
  virtual wire::Awaitable<void> stop(std::string name) = 0;
  // kNotFound; kConflict when it has not ended.
  virtual wire::Awaitable<void> remove(std::string name) = 0;
  // The latest progress beat; empty when there was none.
  virtual control::Progress progress(std::string_view name) const = 0;
};

}  // namespace athanor::api
