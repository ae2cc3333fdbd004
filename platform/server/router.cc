#include "platform/server/router.h"

#include <utility>

#include "common/error.h"
#include "common/hash.h"
#include "common/json.h"
#include "common/log.h"
#include "platform/api/on_worker.h"
#include "platform/api/service_error.h"
#include "platform/api/sts.h"

namespace athanor::server {
namespace {

constexpr std::size_t kBodyBytesMax = 4 << 20;
constexpr const char* kJson = "application/x-amz-json-1.1";

wire::Response reply(int status, std::string content_type, std::string body, const std::string& request_id) {
  wire::Response response;
  response.status = status;
  response.headers.add("Content-Type", std::move(content_type));
  response.headers.add("x-amzn-RequestId", request_id);
  response.body = std::move(body);
  return response;
}

wire::Response json_error(const api::ServiceError& error, const std::string& request_id) {
  json::object body;
  body["__type"] = error.code();
  body["message"] = error.what();
  auto response = reply(error.status(), kJson, json::serialize(body), request_id);
  response.headers.add("x-amzn-ErrorType", error.code());
  return response;
}

// What went wrong without a service's words for it.
api::ServiceError service_error_of(const std::exception& error) {
  if (const auto* service = dynamic_cast<const api::ServiceError*>(&error)) return *service;
  if (const auto* ours = dynamic_cast<const Error*>(&error)) {
    switch (ours->kind()) {
      case ErrorKind::kInvalid: return {"SerializationException", ours->what()};
      case ErrorKind::kNotFound: return {"ResourceNotFoundException", ours->what()};
      case ErrorKind::kExhausted:
      case ErrorKind::kUnavailable: return {"ServiceUnavailable", ours->what(), 503};
      default: break;
    }
  }
  log::error("server", "answering a request: {}", error.what());
  return {"InternalFailure", error.what(), 500};
}

api::ServiceError too_large(const std::string& how) {
  return {"RequestEntityTooLargeException",
          fmt::format("The request's body {}; at most {} bytes are allowed.", how, kBodyBytesMax), 413};
}

// A whole body within bounds; a longer, broken or malformed one is the client's mistake.
wire::Awaitable<std::string> read_body(wire::Body& body) {
  const auto length = body.length();
  if (length && *length > kBodyBytesMax) throw too_large(fmt::format("has {} bytes", *length));
  try {
    std::string bytes = co_await wire::read_all(body, kBodyBytesMax);
    co_return bytes;
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::kExhausted) throw too_large("is too long");
    throw api::ServiceError("SerializationException", error.what());
  }
}

}  // namespace

Router::Router(const api::Authenticator& authenticator, api::SageMakerApi& sagemaker, const api::LogsApi& logs,
               api::S3& s3, boost::asio::thread_pool& workers, std::string account)
    : authenticator_(authenticator),
      sagemaker_(sagemaker),
      logs_(logs),
      s3_(s3),
      workers_(workers),
      account_(std::move(account)) {}

Router::Service Router::service_of(const wire::Request& request, const std::string& scope_service) {
  if (scope_service == "sagemaker") return Service::kSageMaker;
  if (scope_service == "logs") return Service::kLogs;
  if (scope_service == "sts") return Service::kSts;
  if (scope_service == "s3") return Service::kS3;
  if (!scope_service.empty()) return Service::kUnknown;
  // Not signed: it will be refused, by the service that it was meant for.
  const std::string target = request.headers.get_or("X-Amz-Target", "");
  if (target.starts_with("Logs_")) return Service::kLogs;
  if (!target.empty()) return Service::kSageMaker;
  const std::string type = request.headers.get_or("Content-Type", "");
  if (request.method == "POST" && request.path == "/") {
    return type.starts_with("application/x-www-form-urlencoded") ? Service::kSts
           : type.starts_with("application/x-amz-json")          ? Service::kSageMaker
                                                                 : Service::kS3;
  }
  return request.find_query("Action") != nullptr ? Service::kSts : Service::kS3;
}

wire::Awaitable<wire::Response> Router::handle(wire::Request request) {
  wire::SignatureClaim claim = wire::read_signature(request);
  const Service service = service_of(request, claim.scope.service);
  if (service == Service::kS3) {
    api::Authentication authentication = authenticator_.check(request, std::move(claim), "s3", "");
    auto response = co_await s3_.handle(std::move(request), std::move(authentication));
    co_return response;
  }
  if (service == Service::kSts) {
    auto response = co_await handle_sts(std::move(request), std::move(claim));
    co_return response;
  }
  auto response = co_await handle_json(std::move(request), std::move(claim), service);
  co_return response;
}

wire::Awaitable<wire::Response> Router::handle_json(wire::Request request, wire::SignatureClaim claim,
                                                    Service service) {
  const std::string request_id = request.request_id;
  try {
    const std::string scope_service = claim.scope.service;
    const char* name = service == Service::kLogs ? "logs" : "sagemaker";
    std::string body = co_await read_body(*request.body);
    const std::string digest = to_hex(sha256(body));
    // An unknown service's request is judged by its own scope: whoever signs wrongly is told that first.
    const std::string_view expected = service == Service::kUnknown ? std::string_view(scope_service) : name;
    const auto authentication = authenticator_.check(request, std::move(claim), expected, digest);
    if (!authentication.ok()) {
      const auto refusal =
          api::refusal_of(authentication, request, false, authenticator_.now_ms(), authenticator_.region(), expected);
      throw api::ServiceError(refusal.code, refusal.message);
    }
    if (service == Service::kUnknown) {
      throw api::ServiceError(
          "UnknownOperationException",
          fmt::format("The service {} is not offered by this version of Athanor; sagemaker, logs, sts "
                      "and s3 are.",
                      scope_service),
          404);
    }
    std::string target = request.headers.get_or("X-Amz-Target", "");
    if (request.method != "POST" || request.path != "/" || target.empty()) {
      throw api::ServiceError("UnknownOperationException",
                              fmt::format("{} {} names no operation of {}: it must be POST / with X-Amz-Target.",
                                          request.method, request.path, name),
                              404);
    }
    if (service == Service::kLogs) {
      const std::size_t dot = target.find('.');
      const std::string operation = dot == std::string::npos ? "" : target.substr(dot + 1);
      auto reading = api::on_worker<std::string>(workers_, [this, &operation, &body] {
        const json::value input = body.empty() ? json::value(json::object()) : json::parse(body, "The request's body");
        return json::serialize(logs_.call(operation, input));
      });
      std::string text = co_await std::move(reading);
      co_return reply(200, kJson, std::move(text), request_id);
    }
    const auto text = co_await sagemaker_.call(std::move(target), std::move(body));
    co_return reply(200, kJson, *text, request_id);
  } catch (const std::exception& error) {
    co_return json_error(service_error_of(error), request_id);
  }
}

wire::Awaitable<wire::Response> Router::handle_sts(wire::Request request, wire::SignatureClaim claim) {
  const std::string request_id = request.request_id;
  try {
    std::string form = co_await read_body(*request.body);
    const std::string digest = to_hex(sha256(form));
    const auto authentication = authenticator_.check(request, std::move(claim), "sts", digest);
    if (!authentication.ok()) {
      const auto refusal =
          api::refusal_of(authentication, request, true, authenticator_.now_ms(), authenticator_.region(), "sts");
      throw api::ServiceError(refusal.code, refusal.message, 403);
    }
    if (form.empty()) {
      const std::size_t question = request.target.find('?');
      if (question != std::string::npos) form = request.target.substr(question + 1);
    }
    const bool is_role = authentication.principal.find(":assumed-role/") != std::string::npos;
    const std::string unique = to_hex(sha256(authentication.principal)).substr(0, 16);
    std::string id = is_role ? "AROA" : "AIDA";
    for (const char c : unique) id += static_cast<char>(c <= '9' ? c - '0' + 'G' : c - 'a' + 'A');
    if (is_role) id += authentication.principal.substr(authentication.principal.rfind('/')).replace(0, 1, ":");
    const api::Caller caller{account_, authentication.principal, id};
    co_return reply(200, "text/xml", api::sts_reply(form, caller, request_id), request_id);
  } catch (const std::exception& error) {
    const api::ServiceError failure = service_error_of(error);
    co_return reply(failure.status(), "text/xml", api::sts_error(failure, request_id), request_id);
  }
}

}  // namespace athanor::server
