// This machine's processors and memory, and how instances share them.
#pragma once

#include <cstdint>
#include <vector>

#include "platform/control/record.h"

namespace athanor::compute {

// The slots of `instances` instances; 0: two, or one on a machine with one processor. Contiguous, as even as can be;
// processors are shared only when there are fewer of them than instances.
std::vector<control::Slot> cut(const std::vector<std::uint32_t>& cpus, std::uint64_t memory_bytes,
                               std::int32_t instances);

// The processors that this process may use, and the machine's memory.
std::vector<std::uint32_t> usable_cpus();
std::uint64_t machine_memory_bytes();

}  // namespace athanor::compute
