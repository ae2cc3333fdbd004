// Processes that outlive us: started in a session of their own, found again by pid and start time, watched and ended
// through a pidfd, so that a pid that was used again is never mistaken for the process that had it before.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/descriptor.h"

namespace athanor::compute {

struct Process {
  std::int64_t pid = 0;
  Descriptor handle;  // a pidfd: readable when the process has ended
};

struct Command {
  std::vector<std::string> arguments;    // [0] is the program's path
  std::vector<std::string> environment;  // "NAME=value"
  std::string output_path;               // standard output and error are appended there
  std::string folder;                    // present in it: where the identity is kept, in the file "process"
};

// Starts the command in a session of its own, with no descriptor of ours. The child itself writes FOLDER/process before
// it becomes the program, so there is no moment in which it runs unknown. Throws athanor::Error when it cannot be
// started, or when FOLDER/process exists.
Process start_process(const Command& command);

// The process that FOLDER/process names, if it still is the same; else nothing. `was_started` tells whether the file is
// there and of this boot of the machine. Throws athanor::Error when that cannot be found out (no descriptor is free).
struct Found {
  bool was_started = false;
  std::optional<Process> process;
};
Found find_process(const std::string& folder);

// Waits up to `wait_ms` (-1: for ever) for its end; also true of one that nobody has reaped.
bool has_ended(const Process& process, int wait_ms);

// False when it has ended already. SIGKILL goes to its whole process group.
bool send_signal(const Process& process, int signal);

// How a process that has ended did so, as far as it can be told. Reaps it when it is our child.
struct End {
  std::string how;            // "its process 12 ended with status 1", "… was killed by signal 9 (Killed)"
  bool was_by_force = false;  // SIGKILL: nothing that it said can tell of it
};
End end_of(const Process& process);

}  // namespace athanor::compute
