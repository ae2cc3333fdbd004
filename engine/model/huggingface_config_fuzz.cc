// Any bytes as a config.json: refused with a reason, or a decoder's shape that is written and read back the same.
#include <cstdlib>
#include <string_view>

#include "common/error.h"
#include "engine/model/huggingface.h"

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  using namespace athanor::model;
  try {
    const HuggingFaceModel model = huggingface_config_from_json({reinterpret_cast<const char*>(data), size}, "input");
    if (parameter_count(model.config) <= 0) std::abort();
    const HuggingFaceModel again = huggingface_config_from_json(huggingface_config_to_json(model), "written");
    if (again.config != model.config || again.end_of_text != model.end_of_text) std::abort();
  } catch (const athanor::Error&) {
    // Refused, with a reason.
  }
  return 0;
}
