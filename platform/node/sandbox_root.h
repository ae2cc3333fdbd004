// The root that a sandboxed program sees: the host's, with a writable overlay that is thrown away, and without what is
// none of its business. Put together below FOLDER/root in a mount namespace of the caller's own; bwrap then makes it "/".
//
//   /usr /etc /var …   an overlay each: the host's below, FOLDER/layers/upper/NAME above. Where the kernel refuses one
//                      (a file system mounted inside, say), the host's folder read-only, and a note that says so
//   /opt               the host's, with /opt/ml (FOLDER/ml itself) and /opt/athanor/bin
//   /home /tmp /var/tmp  empty, on disk
//   /root /run, /        small, in memory
//   /sys               that of the sandbox's own network, read-only
//   /proc /dev         empty; bwrap makes them
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace athanor::node {

inline constexpr const char* kSandboxUser = "athanor";
inline constexpr int kSandboxUid = 1000;

struct SandboxRoot {
  std::string folder;                                      // of the instance, absolute; FOLDER/ml exists
  std::string programs;                                    // folder with athanor-launch and, when built, athanor-llm
  std::string host;                                        // "algo-1"
  std::vector<std::pair<std::string, std::string>> hosts;  // address, name
  std::vector<std::string> hidden;                         // folders of the host, absolute and without links
};

// Makes the folders and files that the mounts need. Any process that owns FOLDER. Folders are the slow part on a disk and
// need nothing but FOLDER, so they may be made ahead, in any thread; what is there already costs nothing.
void lay_out_folders(const std::string& folder);
void lay_out_root(const SandboxRoot& root);
// Makes the mounts. The caller is alone in its mount namespace and has CAP_SYS_ADMIN over it; returns notes on what
// the kernel refused. Throws when no sandbox can be had.
std::vector<std::string> mount_root(const SandboxRoot& root);

}  // namespace athanor::node
