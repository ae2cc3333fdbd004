// STS: who am I. The query protocol: a form in, XML out. Reference: the service's API reference, version 2011-06-15.
#pragma once

#include <string>
#include <string_view>

#include "platform/api/service_error.h"

namespace athanor::api {

// The signer of a request, as the key store knows it.
struct Caller {
  std::string account;  // "000000000000"
  std::string arn;      // "arn:aws:iam::000000000000:user/athanor"
  std::string id;       // "AIDA…": the unique id of the user or role session
};

// Answers a form (`application/x-www-form-urlencoded`) or a query string. Returns the XML of the reply; throws
// ServiceError for another Action or Version.
std::string sts_reply(std::string_view form, const Caller& caller, std::string_view request_id);

// The query protocol's XML of an error.
std::string sts_error(const ServiceError& error, std::string_view request_id);

}  // namespace athanor::api
