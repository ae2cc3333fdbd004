// S3's own errors, and everybody's turned into them.
#pragma once

#include <exception>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "platform/api/authentication.h"
#include "platform/wire/http.h"

namespace athanor::api {

class S3Error : public std::runtime_error {
 public:
  using Details = std::vector<std::pair<std::string, std::string>>;  // elements beside Code and Message

  S3Error(int status, std::string code, const std::string& message, Details details = {})
      : std::runtime_error(message), status_(status), code_(std::move(code)), details_(std::move(details)) {}
  int status() const { return status_; }
  const std::string& code() const { return code_; }
  const Details& details() const { return details_; }

 private:
  int status_;
  std::string code_;
  Details details_;
};

// Common ones.
S3Error invalid_argument(const std::string& name, const std::string& value, const std::string& message);
S3Error invalid_request(const std::string& message);
S3Error not_implemented(const std::string& what);
S3Error malformed_xml();

// What a failed signature is to S3.
S3Error signature_error(const Authentication& failed, const std::string& region, std::int64_t now_ms);

// Whatever was thrown while a request was served: an S3Error as it is, refusals of the store and of bodies by their S3
// names, anything else InternalError (logged; its text stays here).
S3Error to_s3_error(const std::exception_ptr& thrown, const std::string& request_id);

// The reply. `resource` is the path. Answers to HEAD have no body.
wire::Response s3_error_response(const S3Error& error, const std::string& resource, const std::string& request_id,
                                 bool head);

}  // namespace athanor::api
