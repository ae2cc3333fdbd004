#include "engine/tensor/cpu/kernels.h"

#include <cstdlib>
#include <string>
#include <string_view>

#include "common/error.h"

namespace athanor::tensor::cpu {

namespace {

struct Path {
  const Kernels* kernels;
  bool runs;  // on this CPU
};

const Kernels& choose() {
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw");
  const Path paths[] = {{&kKernelsAvx512Bf16, avx512 && __builtin_cpu_supports("avx512bf16")},
                        {&kKernelsAvx512, avx512},
                        {&kKernelsAvx2, avx2},
                        {&kKernelsPortable, true}};
  const char* named = std::getenv("ATHANOR_CPU");
  std::string runnable;
  for (const Path& path : paths) {
    if (path.runs && (!named || std::string_view(named) == path.kernels->name)) return *path.kernels;
    if (path.runs) runnable += std::string(runnable.empty() ? "" : ", ") + path.kernels->name;
  }
  throw Error(ErrorKind::kInvalid,
              "ATHANOR_CPU is '{}', and this CPU runs: {}; name one of these or unset the variable", named, runnable);
}

}  // namespace

const Kernels& kernels() {
  static const Kernels& chosen = choose();
  return chosen;
}

}  // namespace athanor::tensor::cpu
