// JSON and the validator: any bytes as a request of every operation that we know.
#include <cstdlib>

#include "common/error.h"
#include "platform/api/validation.h"

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  using namespace athanor;
  static const api::Shapes shapes(api::sagemaker_shapes());
  static const api::Shapes logs(api::logs_shapes());
  try {
    const json::value request = json::parse({reinterpret_cast<const char*>(data), size}, "the input");
    for (const char* operation : {"CreateTrainingJob", "ListTrainingJobs", "DescribeTrainingJob"}) {
      try {
        const auto violations = shapes.violations(operation, request);
        if (violations.size() > api::Shapes::kViolationsMax) std::abort();
        if (!violations.empty() && api::violations_text(violations).empty()) std::abort();
      } catch (const api::SerializationError&) {
      }
    }
    try {
      logs.violations("FilterLogEvents", request);
    } catch (const api::SerializationError&) {
    }
  } catch (const Error&) {
  }
  return 0;
}
