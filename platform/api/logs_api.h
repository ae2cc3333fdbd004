// CloudWatch Logs over our own log store: the four reads that the AWS CLI and both SageMaker SDKs poll with.
// Reference: the service's API reference, version 2014-03-28. Any thread; calls read the store and never wait.
#pragma once

#include <string>
#include <string_view>

#include "common/json.h"
#include "platform/api/validation.h"
#include "platform/storage/logs.h"

namespace athanor::api {

class LogsApi {
 public:
  // `logs` outlives this.
  LogsApi(const storage::Logs& logs, std::string region, std::string account);

  // `operation` is X-Amz-Target's part after the dot. Throws ServiceError.
  json::object call(std::string_view operation, const json::value& request) const;

 private:
  json::object describe_log_groups(const json::object& request) const;
  json::object describe_log_streams(const json::object& request) const;
  json::object get_log_events(const json::object& request) const;
  json::object filter_log_events(const json::object& request) const;

  // The group that the request names, which exists.
  std::string group_of(const json::object& request) const;

  const storage::Logs& logs_;
  const std::string region_;
  const std::string account_;
  const Shapes shapes_;
};

}  // namespace athanor::api
