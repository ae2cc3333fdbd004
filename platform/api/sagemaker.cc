#include "platform/api/sagemaker.h"

#include <fmt/format.h>

#include <algorithm>
#include <tuple>

#include "common/error.h"
#include "common/hash.h"
#include "platform/api/describe.h"
#include "platform/api/honoured.h"
#include "platform/api/on_worker.h"
#include "platform/api/service_error.h"

namespace athanor::api {

namespace {

constexpr std::string_view kSageMaker = "SageMaker.";
constexpr const char* kNotFound = "Requested resource not found.";

[[noreturn]] void invalid(const std::string& message) { throw ServiceError("ValidationException", message); }

json::value parse_request(const std::string& body) {
  if (body.empty()) return json::object();
  try {
    return json::parse(body, "the request");
  } catch (const Error&) {
    throw ServiceError("SerializationException", "The request's body is not valid JSON.");
  }
}

// What TrainingJobs says, in the service's words.
ServiceError service_error_of(const Error& error) {
  switch (error.kind()) {
    case ErrorKind::kNotFound: return ServiceError("ValidationException", kNotFound);
    case ErrorKind::kInvalid:
    case ErrorKind::kConflict: return ServiceError("ValidationException", error.what());
    case ErrorKind::kExhausted: return ServiceError("ResourceLimitExceeded", error.what());
    case ErrorKind::kUnavailable: return ServiceError("ServiceUnavailable", error.what(), 503);
    default: return ServiceError("InternalFailure", error.what(), 500);
  }
}

// ListTrainingJobs

using JobPointer = std::shared_ptr<const control::Job>;

std::optional<std::int64_t> find_time_ms(const json::object& request, std::string_view key) {
  static constexpr double kTimeMax_s = 1e12;  // far beyond any clock, and its milliseconds fit
  const auto seconds = json::find_double(request, key);
  if (!seconds) return std::nullopt;
  return static_cast<std::int64_t>(std::clamp(*seconds, -kTimeMax_s, kTimeMax_s) * 1000.0);
}

bool passes(const control::Job& job, const json::object& request) {
  const auto created_after = find_time_ms(request, "CreationTimeAfter");
  const auto created_before = find_time_ms(request, "CreationTimeBefore");
  const auto modified_after = find_time_ms(request, "LastModifiedTimeAfter");
  const auto modified_before = find_time_ms(request, "LastModifiedTimeBefore");
  const auto part = json::find_string(request, "NameContains");
  return (!created_after || job.created_ms >= *created_after) &&
         (!created_before || job.created_ms <= *created_before) &&
         (!modified_after || job.modified_ms >= *modified_after) &&
         (!modified_before || job.modified_ms <= *modified_before) &&
         (!part || job.name.find(*part) != std::string::npos);
}

// A place in the order of a listing: what is sorted by, then the order of creation.
using Place = std::tuple<std::string, std::int64_t>;

Place place_of(const control::Job& job, const std::string& sort_by) {
  if (sort_by == "Name") return {job.name, job.sequence};
  if (sort_by == "Status") return {control::to_string(job.status), job.sequence};
  return {fmt::format("{:020}", job.created_ms), job.sequence};
}

std::string token_of(const Place& place) {
  return to_base64(json::serialize(json::array{std::get<0>(place), std::get<1>(place)}));
}

Place parse_token(const std::string& token) {
  try {
    const auto parsed = json::parse(from_base64(token), "NextToken");
    const auto& row = parsed.as_array();
    return {std::string(row.at(0).as_string()), row.at(1).as_int64()};
  } catch (const std::exception&) {
    invalid("Invalid NextToken: it is not one that ListTrainingJobs returned.");
  }
}

}  // namespace

SageMakerApi::SageMakerApi(TrainingJobs& jobs, boost::asio::thread_pool& workers, Inputs inputs)
    : jobs_(jobs), workers_(workers), inputs_(std::move(inputs)), shapes_(sagemaker_shapes()) {}

wire::Awaitable<std::shared_ptr<const std::string>> SageMakerApi::call(std::string target, std::string body) {
  static const auto kNothing = std::make_shared<const std::string>();
  try {
    if (target == "Athanor.GetProgress") {
      const auto request = parse_request(body);
      if (!request.is_object()) {
        throw ServiceError("SerializationException", "The request's body is not a JSON object.");
      }
      co_return std::make_shared<const std::string>(
          progress(json::get_string(request.get_object(), "TrainingJobName")));
    }
    const std::string operation = target.starts_with(kSageMaker) ? target.substr(kSageMaker.size()) : "";
    if (!shapes_.has(operation)) {
      throw ServiceError("UnknownOperationException",
                         fmt::format("The operation {} is not supported by this version of Athanor.", target));
    }
    auto request = parse_request(body);
    if (const auto broken = shapes_.violations(operation, request); !broken.empty()) invalid(violations_text(broken));
    if (operation == "ListTrainingJobs") {
      auto listing = on_worker<std::string>(workers_, [this, &request] { return list(request.get_object()); });
      auto reply = co_await std::move(listing);
      co_return std::make_shared<const std::string>(std::move(reply));
    }
    if (operation == "ListTags") co_return std::make_shared<const std::string>(list_tags(request.get_object()));
    if (operation == "CreateTrainingJob") {
      auto reply = co_await create(std::move(request));
      co_return std::make_shared<const std::string>(std::move(reply));
    }
    std::string name = json::get_string(request.get_object(), "TrainingJobName");
    if (operation == "DescribeTrainingJob") co_return describe(name);
    if (operation == "StopTrainingJob") {
      co_await stop(std::move(name));
    } else {
      ATHANOR_ASSERT(operation == "DeleteTrainingJob");
      co_await remove(std::move(name));
    }
    co_return kNothing;
  } catch (const SerializationError& error) {
    throw ServiceError("SerializationException", error.what());
  } catch (const Error& error) {
    throw service_error_of(error);
  }
}

wire::Awaitable<std::string> SageMakerApi::create(json::value value) {
  json::object request = std::move(value.as_object());
  refuse_what_is_not_honoured(request);
  check_meaning(request);
  std::string name = json::get_string(request, "TrainingJobName");
  if (const auto taken = jobs_.find(name)) {
    throw ServiceError("ResourceInUse",
                       fmt::format("Training job names must be unique within an AWS account and region, and "
                                   "a training job with this name already exists ({})",
                                   taken->arn));
  }
  co_await check_inputs(request);
  std::string arn;
  try {
    arn = co_await jobs_.create(std::move(name), std::move(request));
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::kConflict) throw ServiceError("ResourceInUse", error.what());
    throw;
  }
  co_return json::serialize(json::object{{"TrainingJobArn", arn}});
}

wire::Awaitable<void> SageMakerApi::check_inputs(const json::object& request) const {
  const auto* channels = json::find_array(request, "InputDataConfig");
  if (channels == nullptr || inputs_.has_objects == nullptr) co_return;
  std::vector<std::string> uris;
  for (const auto& channel : *channels) {
    uris.push_back(json::get_string(channel.at("DataSource").at("S3DataSource").as_object(), "S3Uri"));
  }
  auto looking = on_worker<const std::string*>(workers_, [this, &uris]() -> const std::string* {
    for (const std::string& uri : uris) {
      if (!inputs_.has_objects(storage::S3Uri::parse(uri))) return &uri;
    }
    return nullptr;
  });
  const std::string* empty = co_await std::move(looking);
  if (empty == nullptr) co_return;
  invalid(fmt::format(
      "No S3 objects found under S3 URL \"{}\" given in input data source. Please ensure that the bucket exists in "
      "the selected region ({}), that objects exist under that S3 prefix, and that the role \"{}\" has "
      "\"s3:ListBucket\" permissions on bucket \"{}\".",
      *empty, inputs_.region, json::get_string(request, "RoleArn"), storage::S3Uri::parse(*empty).bucket));
}

wire::Awaitable<void> SageMakerApi::stop(std::string name) { co_await jobs_.stop(std::move(name)); }

wire::Awaitable<void> SageMakerApi::remove(std::string name) {
  const std::string key = name;
  co_await jobs_.remove(std::move(name));
  const std::lock_guard lock(mutex_);
  described_.erase(key);
}

std::shared_ptr<const std::string> SageMakerApi::describe(const std::string& name) {
  const auto job = jobs_.find(name);
  if (job == nullptr) invalid(kNotFound);
  {
    const std::lock_guard lock(mutex_);
    const auto found = described_.find(name);
    if (found != described_.end() && found->second.job == job) return found->second.text;
  }
  auto text = std::make_shared<const std::string>(json::serialize(describe_training_job(*job)));
  const std::lock_guard lock(mutex_);
  if (described_.size() >= kDescribedMax) described_.clear();  // rare, and each comes back at its next use
  described_[name] = {job, text};
  return text;
}

std::string SageMakerApi::list(const json::object& request) const {
  const std::string sort_by = json::find_string(request, "SortBy").value_or("CreationTime");
  const bool descending = json::find_string(request, "SortOrder").value_or("Ascending") == "Descending";
  const auto limit = static_cast<std::size_t>(json::find_int(request, "MaxResults").value_or(10));
  const auto status = json::find_string(request, "StatusEquals");
  const auto token = json::find_string(request, "NextToken");

  std::vector<std::pair<Place, JobPointer>> rows;
  // No job has a warm pool or a training plan here, so none has the status or the plan asked for.
  if (!json::find_string(request, "WarmPoolStatusEquals") && !json::find_string(request, "TrainingPlanArnEquals")) {
    for (auto& job : jobs_.list()) {
      if (passes(*job, request)) rows.emplace_back(place_of(*job, sort_by), job);
    }
  }
  const auto before = [&](const auto& a, const auto& b) { return descending ? b < a : a < b; };
  std::sort(rows.begin(), rows.end(), [&](const auto& a, const auto& b) { return before(a.first, b.first); });
  auto at = rows.begin();
  if (token) {
    at = std::upper_bound(rows.begin(), rows.end(), parse_token(*token),
                          [&](const Place& place, const auto& row) { return before(place, row.first); });
  }
  const auto end =
      at + static_cast<std::ptrdiff_t>(std::min<std::size_t>(limit, static_cast<std::size_t>(rows.end() - at)));

  // The service cuts the page before it filters by status, so a page can be short, or empty, and yet have a successor.
  json::array summaries;
  for (auto row = at; row != end; ++row) {
    if (!status || *status == control::to_string(row->second->status)) {
      summaries.push_back(summarize_training_job(*row->second));
    }
  }
  json::object reply{{"TrainingJobSummaries", std::move(summaries)}};
  if (end != rows.end() && end != at) reply["NextToken"] = token_of(std::prev(end)->first);
  return json::serialize(reply);
}

// The tags that a job was created with. There are at most 50, so one page holds them.
std::string SageMakerApi::list_tags(const json::object& request) const {
  const std::string arn = json::get_string(request, "ResourceArn");
  const auto job = jobs_.find(arn.substr(arn.rfind('/') + 1));
  if (job == nullptr || job->arn != arn) invalid(kNotFound);
  if (json::find_string(request, "NextToken")) invalid("Invalid NextToken: it is not one that ListTags returned.");
  const auto created = json::parse(job->request, "the stored request of " + job->name);
  const auto* tags = json::find_array(created.as_object(), "Tags");
  return json::serialize(json::object{{"Tags", tags == nullptr ? json::array() : *tags}});
}

std::string SageMakerApi::progress(const std::string& name) const {
  if (jobs_.find(name) == nullptr) invalid(kNotFound);
  json::object values;
  for (const auto& [key, value] : jobs_.progress(name)) values[key] = value;
  return json::serialize(json::object{{"Progress", std::move(values)}});
}

}  // namespace athanor::api
