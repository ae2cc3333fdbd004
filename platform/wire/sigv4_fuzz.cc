// Reads and judges a request whose first line is the target, and whose others are headers. No input may crash it, and
// none may pass for signed: the secret is not in the input's reach.
#include <cstdlib>

#include "common/error.h"
#include "platform/wire/sigv4.h"
#include "platform/wire/sigv4_verify.h"

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  using namespace athanor::wire;
  std::string_view rest(reinterpret_cast<const char*>(data), size);
  const auto line = [&rest] {
    const std::size_t end = std::min(rest.find('\n'), rest.size());
    const std::string_view text = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    return text;
  };
  Request request;
  request.method = "PUT";
  request.body = std::make_unique<StringBody>("");
  try {
    set_target(request, std::string(line()));
    while (!rest.empty()) {
      const std::string_view header = line();
      const std::size_t colon = std::min(header.find(':'), header.size());
      request.headers.add(std::string(header.substr(0, colon)),
                          std::string(header.substr(std::min(colon + 1, header.size()))));
    }
    const SignatureClaim claim = read_signature(request);
    SigningKeys keys;
    for (const std::string_view service : {"s3", "sts"}) {
      const auto verdict = verify_signature(request, claim, "a secret that no input knows", keys,
                                            {"us-east-1", service, claim.time_ms, kEmptySha256});
      if (verdict.ok()) std::abort();
    }
  } catch (const athanor::Error&) {
    // A broken escape: the server refuses such a target before it comes here.
  }
  return 0;
}
