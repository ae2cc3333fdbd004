// Where the server is, who we are to it, and calls to its services. The command line is a client like any other: it
// speaks the AWS protocols over HTTP, signed.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "common/clock.h"
#include "common/error.h"
#include "common/files.h"
#include "common/json.h"
#include "platform/storage/s3_client.h"
#include "platform/wire/http_client.h"
#include "platform/wire/sigv4.h"

namespace athanor::cli {

// What a client needs to know, from DATA/endpoint or from the environment.
struct Place {
  std::string data_dir;  // empty when it came from the environment
  std::int64_t pid = 0;  // of the server, when known
  std::string endpoint;  // "http://127.0.0.1:9100"
  std::string secure_endpoint;
  std::string region;
  std::string account;
  std::string role_arn;
  std::string bucket;
  std::string ca_file;
  wire::Credentials credentials;
};

// ATHANOR_DATA_DIR, else ~/.athanor.
std::string default_data_dir();
// `given` as an absolute path; when it is empty, the default.
std::string data_dir_or_default(const std::string& given);

// `data_dir` as given on the command line, or empty: then ATHANOR_DATA_DIR; then AWS_ENDPOINT_URL with keys from the
// environment (as `athanor env` prints them); then ~/.athanor. Throws kUnavailable when no server was ever started there.
Place find_place(const std::string& data_dir);

// A refusal by a service, with its own code ("ValidationException").
class ServiceError : public Error {
 public:
  ServiceError(ErrorKind kind, std::string code, std::string what)
      : Error(kind, std::move(what)), code_(std::move(code)) {}
  const std::string& code() const { return code_; }

 private:
  std::string code_;
};

// One thread.
class Connection {
 public:
  explicit Connection(Place place);

  const Place& place() const { return place_; }

  // One call, as the SDKs make it: call("sagemaker", "SageMaker.StopTrainingJob", {...}). Throws ServiceError, and
  // kUnavailable saying how to start a server when none answers.
  json::object call(std::string_view service, std::string_view target, const json::object& input);
  json::object sagemaker(std::string_view operation, const json::object& input);
  json::object logs(std::string_view operation, const json::object& input);

  storage::S3Client& s3();

  // Returns when something speaks HTTP there; else throws as call() does.
  void check_answers();

 private:
  wire::ClientResponse send(const wire::ClientRequest& request);

  Place place_;
  SystemClock clock_;
  SystemFiles files_;
  wire::HttpClient http_;
  std::unique_ptr<storage::S3Client> s3_;
};

}  // namespace athanor::cli
