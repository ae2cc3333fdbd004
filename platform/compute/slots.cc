#include "platform/compute/slots.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "common/error.h"

namespace athanor::compute {

std::vector<control::Slot> cut(const std::vector<std::uint32_t>& cpus, std::uint64_t memory_bytes,
                               std::int32_t instances) {
  ATHANOR_ASSERT(!cpus.empty());
  const auto processors = static_cast<std::int32_t>(cpus.size());
  const std::int32_t count = instances > 0 ? instances : std::min(processors, 2);
  std::vector<control::Slot> slots;
  for (std::int32_t i = 0; i < count; ++i) {
    control::Slot slot;
    slot.id = fmt::format("local-{}-of-{}", i + 1, count);
    if (count <= processors) {
      for (std::int32_t cpu = i * processors / count; cpu < (i + 1) * processors / count; ++cpu) {
        slot.cpus.push_back(cpus[static_cast<std::size_t>(cpu)]);
      }
    } else {
      slot.cpus.push_back(cpus[static_cast<std::size_t>(i % processors)]);
    }
    slot.memory_bytes = memory_bytes / static_cast<std::uint64_t>(count);
    slots.push_back(std::move(slot));
  }
  return slots;
}

std::vector<std::uint32_t> usable_cpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) != 0) throw system_error(errno, "asking which processors may be used");
  std::vector<std::uint32_t> cpus;
  for (std::uint32_t cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &set)) cpus.push_back(cpu);
  }
  return cpus;
}

std::uint64_t machine_memory_bytes() {
  return static_cast<std::uint64_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
}

}  // namespace athanor::compute
