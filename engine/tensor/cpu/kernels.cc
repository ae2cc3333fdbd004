#include "engine/tensor/cpu/kernels.h"

#include "common/error.h"

namespace athanor::tensor::cpu {

const Kernels& kernels() {
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512bw")) {
    return kKernelsAvx512;
  }
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return kKernelsAvx2;
  throw Error(ErrorKind::kInvalid,
              "Preparing to compute on this CPU: it has neither AVX2 with FMA nor AVX-512; use a machine made since 2013");
}

}  // namespace athanor::tensor::cpu
