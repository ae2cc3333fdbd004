// Serves the credentials of the job's role inside its sandbox, as AWS SDKs fetch them from
// AWS_CONTAINER_CREDENTIALS_FULL_URI (container credential provider): GET /credentials. All SDKs accept a loopback
// address for it; nobody but the job's own processes can reach that of its network namespace.
#pragma once

#include <boost/asio/io_context.hpp>
#include <memory>
#include <string>

#include "common/clock.h"
#include "common/descriptor.h"
#include "platform/node/job_spec.h"

namespace athanor::node {

// {"AccessKeyId": …, "SecretAccessKey": …, "Token": …, "Expiration": "2026-01-31T12:00:00Z"}
std::string credentials_json(const Credentials& credentials, std::int64_t now_ms);

class CredentialsEndpoint {
 public:
  static constexpr int kConnectionsMax = 64;  // at a time; further ones are closed
  static constexpr std::size_t kRequestBytesMax = 16 << 10;
  static constexpr int kRequestMax_s = 10;

  // `listener` is non-blocking; `clock` outlives it. Works on the context's thread until destroyed.
  CredentialsEndpoint(boost::asio::io_context& context, Descriptor listener, Credentials credentials,
                      const Clock& clock);
  ~CredentialsEndpoint();

 private:
  struct Core;
  std::shared_ptr<Core> core_;
};

}  // namespace athanor::node
