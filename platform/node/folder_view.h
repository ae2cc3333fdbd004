// A folder that belongs to a job, looked at by the agent: whatever links the job makes, and whenever it makes them,
// nothing outside the folder is ever opened (openat2 with RESOLVE_BENEATH).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/descriptor.h"

namespace athanor::node {

struct FolderEntry {
  enum class Type { kFile, kFolder, kLink, kOther };
  std::string path;  // relative to the folder
  Type type = Type::kFile;
  std::uint64_t size = 0;
  std::int64_t modified_ns = 0;
  std::uint64_t inode = 0;
  std::uint32_t mode = 0;
  std::string target;  // of a link
};

class FolderView {
 public:
  static constexpr int kDepthMax = 64;
  static constexpr std::size_t kEntriesMax = 4'000'000;

  // Throws kNotFound when there is no such folder. Errors call it `called`, for those who know it by another name than
  // its path.
  explicit FolderView(const std::string& path, std::string called = {});

  // A folder inside, looked at in the same way; nothing when there is none. Throws kInvalid when something else is in its
  // place or on the way to it (a link, a file), kDenied when it may not be looked at.
  std::optional<FolderView> folder(const std::string& path) const;

  // Everything below `from` (relative, or "" for all), a folder before what is in it, names in order. What vanishes
  // meanwhile is left out; what may not be looked at throws kDenied, naming it.
  std::vector<FolderEntry> walk(const std::string& from = "") const;
  // A regular file, for reading; nothing when it is not there or is something else. With `follow`, links that stay
  // inside the folder are followed. Throws kDenied, naming it, when it may not be read.
  std::optional<Descriptor> open(const std::string& path, bool follow = false) const;
  // At most `bytes_max` bytes from the start of a file; nothing when there is none.
  std::optional<std::string> read(const std::string& path, std::size_t bytes_max) const;

  // As errors call it.
  const std::string& path() const { return path_; }

 private:
  void walk_into(int folder, const std::string& prefix, int depth, std::vector<FolderEntry>& into) const;
  int open_beneath(const std::string& path, int flags, bool follow) const;

  FolderView(std::string called, Descriptor folder) : path_(std::move(called)), folder_(std::move(folder)) {}

  std::string path_;  // as errors call it
  Descriptor folder_;
};

// Whether a link at `path` (relative to a folder) that says `target` leads somewhere inside that folder.
bool link_stays_inside(const std::string& path, const std::string& target);

}  // namespace athanor::node
