#include "platform/node/instance_home.h"

#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include <cerrno>
#include <memory>

#include "common/error.h"
#include "common/files.h"
#include "common/log.h"
#include "common/remove_tree.h"
#include "platform/node/namespaces.h"

namespace athanor::node {

namespace {

std::string real_path(const std::string& path) {
  const std::unique_ptr<char, decltype(&::free)> real(::realpath(path.c_str(), nullptr), &::free);
  if (!real) throw system_error(errno, "finding " + path);
  return real.get();
}

void bind_folder(const std::string& from, const std::string& to) {
  if (::mkdir(to.c_str(), 0755) != 0 && errno != EEXIST) throw system_error(errno, "making " + to);
  if (::mount(from.c_str(), to.c_str(), nullptr, MS_BIND, nullptr) != 0) throw system_error(errno, "binding " + from);
}

}  // namespace

InstanceHome move_in(const std::string& state, std::uint32_t uid) {
  InstanceHome home;
  home.folder = real_path(state);
  home.programs = folder_of(real_path("/proc/self/exe"));
  // The data directory has its instances in a folder of that name; elsewhere, what lies beside us is hidden.
  const std::string beside = folder_of(home.folder);
  const bool in_data = beside.ends_with("/instances") && beside != "/instances";
  home.hidden = {in_data ? folder_of(beside) : beside == "/" ? home.folder : beside};
  if (!JobUser::needed()) return home;

  home.user = uid == 0 ? JobUser::claim() : JobUser::hold(uid);
  enter_new(CLONE_NEWNS, "mount");
  if (::mount("none", "/", nullptr, MS_SLAVE | MS_REC, nullptr) != 0) throw system_error(errno, "parting the mounts");
  // What is hidden from the job may be under /tmp; the agent itself has no need of it.
  const Descriptor folder(::open(home.folder.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  const Descriptor programs(::open(home.programs.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!folder || !programs) throw system_error(errno, "opening " + home.folder + " and " + home.programs);
  if (::chown(home.folder.c_str(), home.user->uid(), home.user->uid()) != 0) {
    throw system_error(errno, "giving " + home.folder + " to the job's user");
  }
  if (::mount("tmpfs", "/tmp", "tmpfs", MS_NODEV | MS_NOSUID, "size=64k,mode=755") != 0) {
    throw system_error(errno, "making a place for the instance");
  }
  bind_folder("/proc/self/fd/" + std::to_string(folder.get()), "/tmp/instance");
  bind_folder("/proc/self/fd/" + std::to_string(programs.get()), "/tmp/programs");
  home.folder = "/tmp/instance";
  home.programs = "/tmp/programs";
  home.user->become();
  return home;
}

void clear_out(const std::string& folder) {
  for (const char* name : {"ml", "root", "layers", "scratch", "spool"}) {
    try {
      remove_tree(folder + "/" + name);
    } catch (const Error& error) {
      log::warning("node", "clearing out: {}", error.what());
    }
  }
}

}  // namespace athanor::node
