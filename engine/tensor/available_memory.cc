#include "engine/tensor/available_memory.h"

#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <optional>
#include <sstream>
#include <vector>

namespace athanor::tensor {

namespace {

// The names that a version of control groups gives its files.
struct Version {
  const char* limit;
  const char* used;
  const char* inactive_file;  // lines of memory.stat, over all groups below
  const char* active_file;
};
constexpr Version kVersion1{"/memory.limit_in_bytes", "/memory.usage_in_bytes", "total_inactive_file",
                            "total_active_file"};
constexpr Version kVersion2{"/memory.max", "/memory.current", "inactive_file", "active_file"};

// The number in a file that holds nothing else; nothing when there is none ("max", or no such file).
std::optional<std::uint64_t> number_in(const std::string& path) {
  std::ifstream file(path);
  std::uint64_t number = 0;
  if (file >> number) return number;
  return std::nullopt;
}

// The number after `name` in lines of "name number …".
std::optional<std::uint64_t> number_named(const std::string& path, const std::string& name) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string first;
    std::uint64_t number = 0;
    if (words >> first >> number && first == name) return number;
  }
  return std::nullopt;
}

// What is left of one group's limit.
std::uint64_t left_in(const std::string& folder, const Version& version) {
  const auto limit = number_in(folder + version.limit);
  if (!limit) return UINT64_MAX;
  const std::uint64_t used = number_in(folder + version.used).value_or(0);
  const std::string stat = folder + "/memory.stat";
  const std::uint64_t files =
      number_named(stat, version.inactive_file).value_or(0) + number_named(stat, version.active_file).value_or(0);
  const std::uint64_t kept = used - std::min(used, files);
  return *limit - std::min(*limit, kept);
}

bool has(const std::string& commas, const std::string& name) {
  return ("," + commas + ",").find("," + name + ",") != std::string::npos;
}

// This process's group in the hierarchy that has memory in it, as /proc/self/cgroup tells ("ID:CONTROLLERS:PATH").
std::optional<std::string> own_group(const std::string& root, bool version_2) {
  std::ifstream file(root + "/proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {
    const std::size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    if (version_2 ? controllers.empty() : has(controllers, "memory")) return line.substr(second + 1);
  }
  return std::nullopt;
}

// The least that is left on the way from `group` up to where `mounted_group` is mounted.
std::uint64_t left_on_the_way(const std::string& mount, const std::string& mounted_group, const std::string& group,
                              const Version& version) {
  std::string below = mounted_group == "/" ? group : group.substr(std::min(group.size(), mounted_group.size()));
  // A mount from outside of this process's namespace ("/..") shows more than its groups, and a group outside of the mount
  // cannot be reached: what is mounted is then all that can be asked.
  if (mounted_group.starts_with("/..") || group.find("/..") != std::string::npos) {
    below.clear();
  } else if (mounted_group != "/" && (!group.starts_with(mounted_group) || (!below.empty() && below[0] != '/'))) {
    return UINT64_MAX;  // another's
  }
  std::uint64_t left = UINT64_MAX;
  while (true) {
    left = std::min(left, left_in(mount + below, version));
    if (below.empty()) return left;
    below.resize(below.rfind('/') == std::string::npos ? 0 : below.rfind('/'));
  }
}

std::uint64_t left_in_groups(const std::string& root) {
  std::uint64_t left = UINT64_MAX;
  std::ifstream mounts(root + "/proc/self/mountinfo");
  for (std::string line; std::getline(mounts, line);) {
    // ID PARENT DEVICE ROOT MOUNT-POINT OPTIONS … - TYPE SOURCE OPTIONS
    const std::size_t dash = line.find(" - ");
    if (dash == std::string::npos) continue;
    std::istringstream before(line.substr(0, dash)), after(line.substr(dash + 3));
    std::string word, mounted, mount, type, source, options;
    before >> word >> word >> word >> mounted >> mount;
    after >> type >> source >> options;
    const bool version_2 = type == "cgroup2";
    if (!version_2 && !(type == "cgroup" && has(options, "memory"))) continue;
    if (const auto group = own_group(root, version_2)) {
      left = std::min(left, left_on_the_way(root + mount, mounted, *group, version_2 ? kVersion2 : kVersion1));
    }
  }
  return left;
}

std::uint64_t free_on_machine(const std::string& root) {
  if (const auto kib = number_named(root + "/proc/meminfo", "MemAvailable:")) return *kib * 1024;
  return static_cast<std::uint64_t>(::sysconf(_SC_AVPHYS_PAGES)) * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

}  // namespace

std::uint64_t available_memory_bytes(const std::string& root) {
  return std::min(free_on_machine(root), left_in_groups(root));
}

}  // namespace athanor::tensor
