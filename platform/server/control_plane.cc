#include "platform/server/control_plane.h"

#include <boost/asio/associated_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <utility>

#include "common/error.h"

namespace athanor::server {
namespace {

namespace asio = boost::asio;

constexpr std::int64_t kMaxRuntimeDefault_s = 24 * 3600;

// Calls `begin` with a Done; the coroutine goes on, on its own executor, when that is called.
wire::Awaitable<void> wait_for(std::function<void(Driver::Done)> begin) {
  co_await asio::async_initiate<decltype(asio::use_awaitable), void(std::exception_ptr)>(
      [](auto handler, std::function<void(Driver::Done)> start) {
        const auto executor = asio::get_associated_executor(handler);
        auto work = std::make_shared<asio::executor_work_guard<std::decay_t<decltype(executor)>>>(executor);
        auto shared = std::make_shared<decltype(handler)>(std::move(handler));
        start([shared, work, executor](std::exception_ptr error) {
          asio::post(executor, [shared, work, error] { std::move (*shared)(error); });
        });
      },
      asio::use_awaitable, std::move(begin));
}

}  // namespace

ControlPlane::ControlPlane(Driver& driver, JobBoard& board, std::string region, std::string account)
    : driver_(driver), board_(board), region_(std::move(region)), account_(std::move(account)) {}

control::JobRecord record_of(const std::string& name, const json::object& request, const std::string& region,
                             const std::string& account) {
  control::JobRecord record;
  control::Job& job = record.job;
  job.name = name;
  job.arn = fmt::format("arn:aws:sagemaker:{}:{}:training-job/{}", region, account, name);
  job.request = json::serialize(request);
  if (const auto* resources = json::find_object(request, "ResourceConfig")) {
    job.instance_type = json::find_string(*resources, "InstanceType").value_or("");
    job.instance_count = static_cast<std::int32_t>(json::find_int(*resources, "InstanceCount").value_or(1));
  }
  if (job.instance_count < 1) {
    throw Error(ErrorKind::kInvalid, "ResourceConfig.InstanceCount is {}; at least 1 is needed", job.instance_count);
  }
  if (const auto* stopping = json::find_object(request, "StoppingCondition")) {
    job.max_runtime_s = json::find_int(*stopping, "MaxRuntimeInSeconds").value_or(kMaxRuntimeDefault_s);
  }
  if (const auto* channels = json::find_array(request, "InputDataConfig")) record.has_inputs = !channels->empty();
  if (const auto* output = json::find_object(request, "OutputDataConfig")) {
    std::string path = json::get_string(*output, "S3OutputPath");
    while (path.ends_with('/')) path.pop_back();
    const bool compressed = json::find_string(*output, "CompressionType").value_or("GZIP") != "NONE";
    job.model_artifacts = fmt::format("{}/{}/output/{}", path, name, compressed ? "model.tar.gz" : "model/");
  }
  return record;
}

wire::Awaitable<std::string> ControlPlane::create(std::string name, json::object request) {
  control::JobRecord record = record_of(name, request, region_, account_);
  std::string arn = record.job.arn;
  std::function<void(Driver::Done)> begin = [this, &record](Driver::Done done) {
    driver_.submit(std::move(record), std::move(done));
  };
  co_await wait_for(std::move(begin));
  co_return arn;
}

std::shared_ptr<const control::Job> ControlPlane::find(std::string_view name) const { return board_.find(name); }

std::vector<std::shared_ptr<const control::Job>> ControlPlane::list() const { return board_.list(); }

wire::Awaitable<void> ControlPlane::stop(std::string name) {
  std::function<void(Driver::Done)> begin = [this, &name](Driver::Done done) { driver_.stop(name, std::move(done)); };
  co_await wait_for(std::move(begin));
}

wire::Awaitable<void> ControlPlane::remove(std::string name) {
  std::function<void(Driver::Done)> begin = [this, &name](Driver::Done done) { driver_.remove(name, std::move(done)); };
  co_await wait_for(std::move(begin));
}

control::Progress ControlPlane::progress(std::string_view name) const { return board_.progress(name); }

}  // namespace athanor::server
