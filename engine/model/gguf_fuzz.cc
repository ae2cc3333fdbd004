// Any bytes as a GGUF file: refused with a reason, or tensors within it that can all be read.
#include <cstdlib>
#include <string_view>
#include <vector>

#include "common/error.h"
#include "engine/model/gguf.h"
#include "engine/model/llama2c.h"

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  using namespace athanor::model;
  const std::string_view file(reinterpret_cast<const char*>(data), size);
  try {
    for (const GgufTensor& tensor : parse_gguf(file, "input").tensors) {
      std::size_t count = 1;
      for (const std::int64_t dimension : tensor.shape) count *= static_cast<std::size_t>(dimension);
      if (tensor.offset > size || tensor.bytes > size - tensor.offset) std::abort();
      std::vector<float> values(count);
      dequantize(tensor.type, file.substr(tensor.offset, tensor.bytes), values);
    }
  } catch (const athanor::Error&) {
    // Refused, with a reason.
  }
  try {
    const Config config = llama2c_config(file, size, "input");
    if (parameter_count(config) > static_cast<std::int64_t>(size / sizeof(float))) std::abort();
  } catch (const athanor::Error&) {
    // Refused, with a reason.
  }
  return 0;
}
