// How much memory a program may take before something happens to it.
#pragma once

#include <cstdint>
#include <string>

namespace athanor::tensor {

// Bytes that this process may still take: what the machine has free, or what is left of the limit of a control group that
// it is in (cgroups version 2 or 1), its own or one above, if that is less. Pages that only hold files count as free, as
// the kernel drops them before it kills anybody. `root` stands for / in tests.
std::uint64_t available_memory_bytes(const std::string& root = "");

}  // namespace athanor::tensor
