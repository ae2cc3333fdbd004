// Whom a job's processes run as. As root, each job gets an unprivileged user id of its own, so that two jobs, and a job
// and the host, are strangers to the kernel. As an ordinary user it is that user, and namespaces alone part them.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>

#include "common/descriptor.h"

namespace athanor::node {

// A user id that nobody else takes while this object, or one held() from it, lives in any process (shared locks in
// /run/athanor: they vanish with their holders, however these end).
class JobUser {
 public:
  // systemd gives 61184…65519 to its own dynamic users for the same purpose; ids in use by a name are left out.
  static constexpr uid_t kFirst = 61184;
  static constexpr uid_t kLast = 65519;

  // Whether this process may change users (it is root).
  static bool needed();
  // An id that is free. Throws kExhausted when none is. Only as root.
  static JobUser claim();
  // A share in one that another process claimed. Only as root.
  static JobUser hold(uid_t uid);

  uid_t uid() const { return uid_; }
  // This process becomes that user, for good: no groups, no capabilities. Its /proc files stay its own, which user
  // namespaces need.
  void become() const;

 private:
  JobUser(uid_t uid, Descriptor lock) : uid_(uid), lock_(std::move(lock)) {}
  uid_t uid_;
  Descriptor lock_;
};

}  // namespace athanor::node
