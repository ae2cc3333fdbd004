#include "platform/node/job_user.h"

#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include <cerrno>

#include "common/error.h"
#include "common/random.h"

namespace athanor::node {

namespace {

constexpr const char* kLocks = "/run/athanor";

Descriptor open_lock(uid_t uid) {
  if (::mkdir(kLocks, 0700) != 0 && errno != EEXIST) throw system_error(errno, std::string("making ") + kLocks);
  const std::string path = std::string(kLocks) + "/uid-" + std::to_string(uid);
  Descriptor lock(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!lock) throw system_error(errno, "opening " + path);
  return lock;
}

}  // namespace

bool JobUser::needed() { return ::geteuid() == 0; }

JobUser JobUser::claim() {
  constexpr uid_t kCount = kLast - kFirst + 1;
  SystemRandom random;
  const auto first = static_cast<uid_t>(random.below(kCount));
  for (uid_t i = 0; i < kCount; ++i) {
    const uid_t uid = kFirst + (first + i) % kCount;
    Descriptor lock = open_lock(uid);
    if (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0) continue;
    if (::getpwuid(uid) != nullptr) continue;
    // From exclusive to shared, so that the job's other processes can hold it too.
    if (::flock(lock.get(), LOCK_SH | LOCK_NB) != 0) continue;
    return JobUser(uid, std::move(lock));
  }
  throw Error(ErrorKind::kExhausted, "finding a user id for the job: all of {} to {} are in use", kFirst, kLast);
}

JobUser JobUser::hold(uid_t uid) {
  if (uid < kFirst || uid > kLast) {
    throw Error(ErrorKind::kInvalid, "holding the job's user id: {} is not one of {} to {}", uid, kFirst, kLast);
  }
  Descriptor lock = open_lock(uid);
  if (::flock(lock.get(), LOCK_SH | LOCK_NB) != 0) throw system_error(errno, "sharing the job's user id");
  return JobUser(uid, std::move(lock));
}

void JobUser::become() const {
  if (::setgroups(0, nullptr) != 0) throw system_error(errno, "leaving root's groups");
  if (::setresgid(uid_, uid_, uid_) != 0) throw system_error(errno, "becoming the job's group");
  if (::setresuid(uid_, uid_, uid_) != 0) throw system_error(errno, "becoming the job's user");
  ATHANOR_ASSERT(::geteuid() == uid_ && ::setuid(0) != 0);
  if (::prctl(PR_SET_DUMPABLE, 1) != 0) throw system_error(errno, "keeping /proc/self as one's own");
}

}  // namespace athanor::node
