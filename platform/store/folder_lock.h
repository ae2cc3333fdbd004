// One process at a time in a data folder: an exclusive flock on FOLDER/lock, which holds the owner's pid for people.
// The lock ends with the process, however it ends; the file stays.
#pragma once

#include <cstdint>
#include <string>

namespace athanor::store {

class FolderLock {
 public:
  // Throws kConflict with the other's pid when the folder is taken.
  explicit FolderLock(const std::string& folder);
  ~FolderLock();
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

 private:
  int descriptor_ = -1;
};

// The pid of the process that has the folder locked; 0 when none has.
std::int64_t holder_of(const std::string& folder);

}  // namespace athanor::store
