#include "platform/cli/connection.h"

#include <pwd.h>
#include <signal.h>
#include <unistd.h>

#include <cstdlib>
#include <map>

#include "common/hash.h"
#include "platform/server/server.h"

namespace athanor::cli {
namespace {

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

std::string home() {
  if (std::string from = environment("HOME"); !from.empty()) return from;
  const passwd* entry = getpwuid(getuid());
  return entry == nullptr ? "/" : entry->pw_dir;
}

std::string absolute(const std::string& path) {
  if (path.starts_with('/')) return path;
  char here[4096];
  return getcwd(here, sizeof here) == nullptr ? path : std::string(here) + "/" + path;
}

Place place_in(const std::string& data_dir) {
  const auto endpoint = server::read_endpoint(data_dir);
  if (!endpoint) {
    throw Error(ErrorKind::kUnavailable,
                "Looking for a server in {}: none was ever started there. Start one with `athanor up{}`.", data_dir,
                data_dir == default_data_dir() ? "" : " --data-dir " + data_dir);
  }
  Place place;
  place.data_dir = data_dir;
  place.pid = endpoint->pid;
  place.endpoint = endpoint->http();
  place.secure_endpoint = endpoint->https();
  place.region = endpoint->region;
  place.account = endpoint->account;
  place.role_arn = endpoint->role_arn;
  place.bucket = endpoint->bucket;
  place.ca_file = endpoint->ca_path;
  place.credentials = {endpoint->access_key_id, endpoint->secret_access_key, ""};
  return place;
}

Place place_in_environment() {
  Place place;
  place.endpoint = environment("AWS_ENDPOINT_URL");
  while (place.endpoint.ends_with('/')) place.endpoint.pop_back();
  place.secure_endpoint = place.endpoint;
  if (place.endpoint.starts_with("http://")) place.secure_endpoint.replace(0, 4, "https");
  place.region = environment("AWS_REGION");
  if (place.region.empty()) place.region = environment("AWS_DEFAULT_REGION");
  if (place.region.empty()) place.region = "us-east-1";
  place.account = "000000000000";
  place.role_arn = environment("ATHANOR_ROLE");
  if (place.role_arn.empty()) place.role_arn = "arn:aws:iam::000000000000:role/athanor";
  place.bucket = environment("ATHANOR_BUCKET");
  if (place.bucket.empty()) place.bucket = "sagemaker-" + place.region + "-" + place.account;
  place.ca_file = environment("AWS_CA_BUNDLE");
  place.credentials = {environment("AWS_ACCESS_KEY_ID"), environment("AWS_SECRET_ACCESS_KEY"),
                       environment("AWS_SESSION_TOKEN")};
  return place;
}

ErrorKind kind_of(int status, const std::string& code, const std::string& message) {
  static const std::map<std::string, ErrorKind, std::less<>> kKinds = {
      {"ResourceInUse", ErrorKind::kConflict},           {"ResourceLimitExceeded", ErrorKind::kExhausted},
      {"ResourceNotFound", ErrorKind::kNotFound},        {"ResourceNotFoundException", ErrorKind::kNotFound},
      {"AccessDeniedException", ErrorKind::kDenied},     {"UnrecognizedClientException", ErrorKind::kDenied},
      {"InvalidSignatureException", ErrorKind::kDenied}, {"ExpiredTokenException", ErrorKind::kDenied},
  };
  if (const auto known = kKinds.find(code); known != kKinds.end()) return known->second;
  if (message == "Requested resource not found.") return ErrorKind::kNotFound;
  if (message.starts_with("The request was rejected because the training job is in status")) {
    return ErrorKind::kConflict;
  }
  if (status >= 500) return ErrorKind::kUnavailable;
  return ErrorKind::kInvalid;
}

[[noreturn]] void refuse(std::string_view target, const wire::ClientResponse& response) {
  std::string code = "HTTP " + std::to_string(response.status), message = response.body;
  try {
    const json::value parsed = json::parse(response.body, "the server's error");
    const json::object& error = parsed.as_object();
    code = json::find_string(error, "__type").value_or(code);
    message = json::find_string(error, "message").value_or(json::find_string(error, "Message").value_or(message));
  } catch (const std::exception&) {
    // Not an error of a service: told as it came.
  }
  const std::string operation(target.substr(target.find('.') + 1));
  throw ServiceError(kind_of(response.status, code, message), code,
                     fmt::format("{}: {}: {}", operation, code, message));
}

}  // namespace

std::string default_data_dir() {
  const std::string from = environment("ATHANOR_DATA_DIR");
  return from.empty() ? home() + "/.athanor" : absolute(from);
}

std::string data_dir_or_default(const std::string& given) {
  return given.empty() ? default_data_dir() : absolute(given);
}

Place find_place(const std::string& data_dir) {
  if (!data_dir.empty()) return place_in(absolute(data_dir));
  const bool environment_has_all = !environment("AWS_ENDPOINT_URL").empty() &&
                                   !environment("AWS_ACCESS_KEY_ID").empty() &&
                                   !environment("AWS_SECRET_ACCESS_KEY").empty();
  if (environment("ATHANOR_DATA_DIR").empty() && environment_has_all) return place_in_environment();
  return place_in(default_data_dir());
}

Connection::Connection(Place place)
    : place_(std::move(place)), http_(place_.endpoint, [this] {
        wire::HttpClient::Options options;
        if (place_.endpoint.starts_with("https://")) options.ca_file = place_.ca_file;
        return options;
      }()) {}

json::object Connection::call(std::string_view service, std::string_view target, const json::object& input) {
  wire::ClientRequest request;
  request.method = "POST";
  request.body = json::serialize(input);
  request.headers.add("Host", http_.endpoint().authority());
  request.headers.add("Content-Type", "application/x-amz-json-1.1");
  request.headers.add("X-Amz-Target", std::string(target));
  wire::sign_request(request.method, request.target, request.headers, place_.credentials, place_.region, service,
                     clock_.wall_ms(), to_hex(sha256(request.body)));
  wire::Headers sent;  // the client adds Host itself
  for (const auto& [name, value] : request.headers) {
    if (name != "Host") sent.add(name, value);
  }
  request.headers = std::move(sent);

  const wire::ClientResponse response = send(request);
  if (!response.ok()) refuse(target, response);
  if (response.body.empty()) return {};
  return json::parse(response.body, "the server's answer").as_object();
}

wire::ClientResponse Connection::send(const wire::ClientRequest& request) {
  try {
    return http_.send(request);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kUnavailable) throw;
    const bool has_ended = place_.pid > 0 && kill(static_cast<pid_t>(place_.pid), 0) != 0 && errno == ESRCH;
    throw Error(
        ErrorKind::kUnavailable, "No server answers at {} ({}). {}", place_.endpoint, error.what(),
        has_ended
            ? "The one that listened there has ended: start it again with `athanor up`, and its jobs are taken up."
            : "Start one with `athanor up`.");
  }
}

void Connection::check_answers() { send({}); }

json::object Connection::sagemaker(std::string_view operation, const json::object& input) {
  const bool is_ours = operation.find('.') != std::string_view::npos;  // "Athanor.GetProgress"
  return call("sagemaker", is_ours ? std::string(operation) : "SageMaker." + std::string(operation), input);
}

json::object Connection::logs(std::string_view operation, const json::object& input) {
  return call("logs", "Logs_20140328." + std::string(operation), input);
}

storage::S3Client& Connection::s3() {
  if (!s3_) {
    storage::S3Client::Options options;
    options.endpoint = place_.endpoint;
    options.region = place_.region;
    if (place_.endpoint.starts_with("https://")) options.ca_file = place_.ca_file;
    options.tries_max = 2;
    s3_ = std::make_unique<storage::S3Client>(
        options, [this] { return place_.credentials; }, clock_, files_);
  }
  return *s3_;
}

}  // namespace athanor::cli
