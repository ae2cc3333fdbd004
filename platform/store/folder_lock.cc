#include "platform/store/folder_lock.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <thread>

#include "common/error.h"

namespace athanor::store {
namespace {

std::int64_t read_pid(int descriptor) {
  char text[32] = {};
  const ssize_t count = pread(descriptor, text, sizeof(text) - 1, 0);
  return count > 0 ? std::strtoll(text, nullptr, 10) : 0;
}

// A process that was killed as it started an agent is gone before the agent closes what it inherited: such a lock ends
// within moments.
bool lock_within_moments(int descriptor) {
  const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(5);
  while (flock(descriptor, LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return false;
    const bool owner_is_gone = kill(static_cast<pid_t>(read_pid(descriptor)), 0) != 0 && errno == ESRCH;
    errno = EWOULDBLOCK;
    if (!owner_is_gone || std::chrono::steady_clock::now() > give_up) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return true;
}

}  // namespace

FolderLock::FolderLock(const std::string& folder) {
  const std::string path = folder + "/lock";
  descriptor_ = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (descriptor_ < 0) throw system_error(errno, "locking " + path);
  if (!lock_within_moments(descriptor_)) {
    const int error_number = errno;
    const std::int64_t pid = read_pid(descriptor_);
    close(descriptor_);
    if (error_number != EWOULDBLOCK) throw system_error(error_number, "locking " + path);
    throw Error(
        ErrorKind::kConflict,
        "opening the data folder {}: another athanor (pid {}) is using it; stop that one with `athanor down`, or "
        "give this one a folder of its own with --data-dir",
        folder, pid);
  }
  const std::string pid = fmt::format("{}\n", getpid());
  if (ftruncate(descriptor_, 0) != 0 || pwrite(descriptor_, pid.data(), pid.size(), 0) < 0) {
    const int error_number = errno;
    close(descriptor_);
    throw system_error(error_number, "writing " + path);
  }
}

FolderLock::~FolderLock() { close(descriptor_); }

std::int64_t holder_of(const std::string& folder) {
  const int descriptor = open((folder + "/lock").c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return 0;
  std::int64_t pid = 0;
  if (flock(descriptor, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK) pid = read_pid(descriptor);
  close(descriptor);
  return pid;
}

}  // namespace athanor::store
