// One port, all services: tells a request apart by the service in its SigV4 credential scope (unsigned ones by their
// form), checks its signature, hands it to its front, and gives replies and errors in that service's form.
#pragma once

#include <boost/asio/thread_pool.hpp>
#include <string>

#include "platform/api/authentication.h"
#include "platform/api/logs_api.h"
#include "platform/api/s3.h"
#include "platform/api/sagemaker.h"
#include "platform/wire/http.h"

namespace athanor::server {

class Router {
 public:
  // All outlive this. Logs are read on `workers`.
  Router(const api::Authenticator& authenticator, api::SageMakerApi& sagemaker, const api::LogsApi& logs, api::S3& s3,
         boost::asio::thread_pool& workers, std::string account);

  // Any thread.
  wire::Awaitable<wire::Response> handle(wire::Request request);

 private:
  enum class Service { kSageMaker, kLogs, kSts, kS3, kUnknown };
  static Service service_of(const wire::Request& request, const std::string& scope_service);

  wire::Awaitable<wire::Response> handle_json(wire::Request request, wire::SignatureClaim claim, Service service);
  wire::Awaitable<wire::Response> handle_sts(wire::Request request, wire::SignatureClaim claim);

  const api::Authenticator& authenticator_;
  api::SageMakerApi& sagemaker_;
  const api::LogsApi& logs_;
  api::S3& s3_;
  boost::asio::thread_pool& workers_;
  const std::string account_;
};

}  // namespace athanor::server
