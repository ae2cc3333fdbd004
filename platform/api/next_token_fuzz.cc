// Any text as the token of a listing's next page: taken, or refused in the service's words, never anything else.
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <cstdlib>

#include "platform/api/logs_api.h"
#include "platform/api/s3_error.h"
#include "platform/api/s3_request.h"
#include "platform/api/sagemaker.h"
#include "platform/api/service_error.h"

namespace athanor::api {
namespace {

class OneStream final : public storage::Logs {
 public:
  std::uint64_t append(const std::string&, const std::string&, const std::string&, std::uint64_t, std::uint64_t,
                       const std::vector<storage::LogEvent>&) override {
    return 0;
  }
  bool has_group(const std::string&) const override { return true; }
  std::vector<std::string> groups() const override { return {"g"}; }
  std::vector<storage::LogStream> streams(const std::string&, std::string_view) const override {
    return {{.name = "s", .events = kEvents}};
  }
  std::vector<storage::LogEvent> read(const std::string&, const std::string&, std::uint64_t position, std::size_t count,
                                      std::size_t) const override {
    if (position >= kEvents || count > kEvents - position) std::abort();
    std::vector<storage::LogEvent> events;
    for (; count > 0; --count) events.push_back({0, 0, "x", position++});
    return events;
  }
  std::uint64_t seek(const std::string&, const std::string&, std::int64_t) const override { return 0; }

 private:
  static constexpr std::uint64_t kEvents = 3;
};

class OneJob final : public TrainingJobs {
 public:
  wire::Awaitable<std::string> create(std::string, json::object) override { co_return ""; }
  std::shared_ptr<const control::Job> find(std::string_view) const override { return job_; }
  std::vector<std::shared_ptr<const control::Job>> list() const override { return {job_}; }
  wire::Awaitable<void> stop(std::string) override { co_return; }
  wire::Awaitable<void> remove(std::string) override { co_return; }
  control::Progress progress(std::string_view) const override { return {}; }

 private:
  const std::shared_ptr<const control::Job> job_ = std::make_shared<control::Job>();
};

void ask_logs(const char* operation, json::object request, const std::string& token) {
  static const OneStream kStream;
  static const LogsApi kApi(kStream, "us-east-1", "000000000000");
  request["nextToken"] = token;
  try {
    kApi.call(operation, request);
  } catch (const ServiceError&) {
  }
}

void ask_sagemaker(const std::string& token) {
  static OneJob jobs;
  static boost::asio::thread_pool workers(1);
  static SageMakerApi api(jobs, workers);
  boost::asio::io_context context;
  boost::asio::co_spawn(context,
                        api.call("SageMaker.ListTrainingJobs", json::serialize(json::object{{"NextToken", token}})),
                        [](std::exception_ptr failure, const std::shared_ptr<const std::string>&) {
                          try {
                            if (failure) std::rethrow_exception(failure);
                          } catch (const ServiceError&) {
                          }
                        });
  context.run();
}

}  // namespace
}  // namespace athanor::api

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  using namespace athanor;
  using namespace athanor::api;
  const std::string token(reinterpret_cast<const char*>(data), size);
  ask_logs("GetLogEvents", {{"logGroupName", "g"}, {"logStreamName", "s"}}, token);
  ask_logs("FilterLogEvents", {{"logGroupName", "g"}}, token);
  ask_logs("DescribeLogStreams", {{"logGroupName", "g"}}, token);
  ask_sagemaker(token);
  try {
    if (read_list_token(make_list_token(token)) != token) std::abort();
    read_list_token(token);
  } catch (const S3Error&) {
  }
  return 0;
}
