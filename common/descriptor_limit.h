// How many descriptors this process may hold. Systems start programs with few (1024 is usual), for the sake of programs
// that use select(); a program that serves many connections asks for what it may have.
#pragma once

namespace athanor {

// Raises the soft limit (RLIMIT_NOFILE) to the hard one, for this process and those that it starts. Where the kernel
// refuses, the limit stays as it was. Call it before there are threads.
void raise_descriptor_limit();

}  // namespace athanor
