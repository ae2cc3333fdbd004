#include "engine/tensor/available_memory.h"

#include <gtest/gtest.h>

#include "common/temporary_folder.h"

namespace athanor::tensor {
namespace {

constexpr const char* kMachine = "MemTotal: 9000 kB\nMemAvailable:       8000 kB\n";  // 8,192,000 bytes
constexpr const char* kMounted2 = "30 20 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";

struct Case {
  const char* name;
  std::vector<std::pair<std::string, std::string>> files;  // beside /proc/meminfo
  std::uint64_t available;
};

TEST(AvailableMemory, IsTheLeastThatIsLeftOnTheWayUp) {
  const std::string g = "sys/fs/cgroup/";
  for (const Case& one : std::vector<Case>{
           {"no groups", {}, 8'192'000},
           {"a container: its group is the root of all it sees",
            {{"proc/self/mountinfo", kMounted2},
             {"proc/self/cgroup", "0::/\n"},
             {g + "memory.max", "5000\n"},
             {g + "memory.current", "1000\n"}},
            4000},
           {"a group without a limit in one that has one",
            {{"proc/self/mountinfo", kMounted2},
             {"proc/self/cgroup", "0::/system.slice/job_7/step_0\n"},
             {g + "system.slice/memory.max", "max\n"},
             {g + "system.slice/job_7/memory.max", "7000\n"},
             {g + "system.slice/job_7/memory.current", "500\n"},
             {g + "system.slice/job_7/step_0/memory.max", "max\n"}},
            6500},
           {"its own group has the least",
            {{"proc/self/mountinfo", kMounted2},
             {"proc/self/cgroup", "0::/a/b\n"},
             {g + "a/memory.max", "7000\n"},
             {g + "a/b/memory.max", "300\n"}},
            300},
           {"pages of files are free",
            {{"proc/self/mountinfo", kMounted2},
             {"proc/self/cgroup", "0::/a\n"},
             {g + "a/memory.max", "7000\n"},
             {g + "a/memory.current", "6900\n"},
             {g + "a/memory.stat", "anon 900\nfile 6000\ninactive_file 4000\nactive_file 1000\n"}},
            5100},
           {"used up",
            {{"proc/self/mountinfo", kMounted2},
             {"proc/self/cgroup", "0::/a\n"},
             {g + "a/memory.max", "7000\n"},
             {g + "a/memory.current", "7100\n"}},
            0},
           {"version 1, as Slurm has it, beside a version 2 without memory",
            {{"proc/self/mountinfo",
              "31 30 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
              "32 30 0:28 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n"
              "33 30 0:29 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"},
             {"proc/self/cgroup", "9:cpuset:/slurm\n8:memory:/slurm/uid_0/job_7\n0::/system.slice\n"},
             {g + "memory/slurm/memory.limit_in_bytes", "9223372036854771712\n"},
             {g + "memory/slurm/uid_0/job_7/memory.limit_in_bytes", "6000\n"},
             {g + "memory/slurm/uid_0/job_7/memory.usage_in_bytes", "2000\n"},
             {g + "memory/slurm/uid_0/job_7/memory.stat",
              "inactive_file 1\ntotal_inactive_file 500\ntotal_active_file 100\n"}},
            4600},
           {"version 1 in a container: its group is mounted",
            {{"proc/self/mountinfo", "33 30 0:29 /docker/f00 /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n"},
             {"proc/self/cgroup", "8:memory:/docker/f00\n"},
             {g + "memory/memory.limit_in_bytes", "6000\n"}},
            6000},
           {"another's group is mounted",
            {{"proc/self/mountinfo", "30 20 0:26 /a /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"},
             {"proc/self/cgroup", "0::/ab\n"},
             {g + "memory.max", "10\n"}},
            8'192'000},
       }) {
    const TemporaryFolder root;
    root.put("proc/meminfo", kMachine);
    for (const auto& [path, content] : one.files) root.put(path, content);
    EXPECT_EQ(available_memory_bytes(root.path()), one.available) << one.name;
  }
  EXPECT_GT(available_memory_bytes(), 0U);
}

}  // namespace
}  // namespace athanor::tensor
