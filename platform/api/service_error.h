// An error as a service words it: what a client's error handling sees. Fronts throw it; the router prints it in the
// service's form (JSON for SageMaker and Logs, XML for STS).
#pragma once

#include <stdexcept>
#include <string>
#include <utility>

namespace athanor::api {

class ServiceError : public std::runtime_error {
 public:
  ServiceError(std::string code, const std::string& message, int status = 400)
      : std::runtime_error(message), code_(std::move(code)), status_(status) {}

  const std::string& code() const { return code_; }  // "ValidationException"
  int status() const { return status_; }             // HTTP's

 private:
  std::string code_;
  int status_;
};

}  // namespace athanor::api
