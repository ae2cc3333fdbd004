#include "platform/node/namespaces.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/types.h>

#include <cerrno>
#include <exception>

#include "common/error.h"

namespace athanor::node {

namespace {

void write_map(const char* path, const std::string& contents) {
  const Descriptor file(::open(path, O_WRONLY | O_CLOEXEC));
  if (!file || ::write(file.get(), contents.data(), contents.size()) != static_cast<ssize_t>(contents.size())) {
    throw system_error(errno, std::string("writing ") + path);
  }
}

}  // namespace

void enter_own_user_namespace() {
  const uid_t uid = ::geteuid();
  const gid_t gid = ::getegid();
  if (::unshare(CLONE_NEWUSER) != 0) {
    throw system_error(errno,
                       "making a user namespace (the kernel must let ordinary users make them: sysctl "
                       "user.max_user_namespaces above 0 and, where it exists, kernel.unprivileged_userns_clone=1)");
  }
  write_map("/proc/self/setgroups", "deny");
  write_map("/proc/self/uid_map", "0 " + std::to_string(uid) + " 1");
  write_map("/proc/self/gid_map", "0 " + std::to_string(gid) + " 1");
}

void enter_new(int flag, const char* what) {
  if (::unshare(flag) != 0) throw system_error(errno, std::string("making a ") + what + " namespace");
}

void enter(int descriptor, int flag, const char* what) {
  if (::setns(descriptor, flag) != 0) {
    throw system_error(errno, std::string("entering the job's ") + what + " namespace");
  }
}

Descriptor open_namespace(const char* name) {
  const std::string path = std::string("/proc/self/ns/") + name;
  Descriptor descriptor(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!descriptor) throw system_error(errno, "opening " + path);
  return descriptor;
}

pid_t fork_child(const std::function<void()>& body, const std::function<void(const std::string&)>& report) {
  const pid_t child = ::fork();
  if (child < 0) throw system_error(errno, "starting a process");
  if (child > 0) return child;
  try {
    body();
    ::_exit(0);
  } catch (const std::exception& error) {
    report(error.what());
  }
  ::_exit(125);
}

}  // namespace athanor::node
