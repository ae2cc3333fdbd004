// The few steps into Linux namespaces that the network and the sandbox share. For single-threaded processes (fresh
// forks); failures throw with what the kernel refused and what to do.
#pragma once

#include <functional>
#include <string>

#include "common/descriptor.h"

namespace athanor::node {

// Enters a new user namespace in which this process is uid 0 with all capabilities; outside it stays who it is.
void enter_own_user_namespace();
void enter_new(int flag, const char* what);  // CLONE_NEWNET, "network"…
void enter(int descriptor, int flag, const char* what);
// "/proc/self/ns/net", "user"…
Descriptor open_namespace(const char* name);

// Runs `body` in a fork. The child ends without running anybody's destructors or atexit handlers; what `body` throws
// goes to `report`. Returns the child's process id.
pid_t fork_child(const std::function<void()>& body, const std::function<void(const std::string&)>& report);

}  // namespace athanor::node
