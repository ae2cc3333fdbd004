// What `athanor` returns to the shell. Scripts rely on these; docs/cli.md and --help list them.
#pragma once

#include "common/error.h"

namespace athanor::cli {

enum ExitCode : int {
  kSuccess = 0,
  kFailure = 1,          // none of the below
  kUsage = 2,            // the command line or the request is wrong
  kAbsent = 3,           // no such job, bucket, object or file
  kConflict = 4,         // exists already, or its state forbids it
  kUnreachable = 5,      // no server answers
  kDenied = 6,           // keys or permissions
  kJobFailed = 10,       // the job that was waited for has failed…
  kJobStopped = 11,      // …or was stopped
  kCannotRun = 126,      // exec: the program cannot be run
  kNoSuchProgram = 127,  // exec: there is no such program
  kInterrupted = 130
};

inline int exit_code_of(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::kInvalid: return kUsage;
    case ErrorKind::kNotFound: return kAbsent;
    case ErrorKind::kConflict: return kConflict;
    case ErrorKind::kUnavailable: return kUnreachable;
    case ErrorKind::kDenied: return kDenied;
    case ErrorKind::kExhausted:
    case ErrorKind::kCorrupt:
    case ErrorKind::kInternal: return kFailure;
  }
  return kFailure;
}

}  // namespace athanor::cli
