// api::TrainingJobs over the driver and the board: requests in, jobs out.
#pragma once

#include <string>

#include "platform/api/training_jobs.h"
#include "platform/server/driver.h"
#include "platform/server/job_board.h"

namespace athanor::server {

class ControlPlane final : public api::TrainingJobs {
 public:
  ControlPlane(Driver& driver, JobBoard& board, std::string region, std::string account);

  wire::Awaitable<std::string> create(std::string name, json::object request) override;
  std::shared_ptr<const control::Job> find(std::string_view name) const override;
  std::vector<std::shared_ptr<const control::Job>> list() const override;
  wire::Awaitable<void> stop(std::string name) override;
  wire::Awaitable<void> remove(std::string name) override;
  control::Progress progress(std::string_view name) const override;

 private:
  Driver& driver_;
  JobBoard& board_;
  const std::string region_;
  const std::string account_;
};

// What control must know of a validated request. Throws kInvalid, naming the field, for what cannot be run here.
control::JobRecord record_of(const std::string& name, const json::object& request, const std::string& region,
                             const std::string& account);

}  // namespace athanor::server
