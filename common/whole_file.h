// A file that appears at its path whole or not at all: it is written under a name of its own, PATH.tmp, and renamed in
// finish(). For what is written in parts; Files::replace() is for what is at hand. One thread at a time.
#pragma once

#include <memory>
#include <string>

#include "common/files.h"

namespace athanor {

class WholeFile {
 public:
  // `files` must outlive it.
  WholeFile(Files& files, std::string path);
  // A file that is open already, and is the caller's to remove: finish() closes it, and nothing is made durable.
  explicit WholeFile(std::unique_ptr<File> file);
  ~WholeFile();  // what is unfinished is removed
  WholeFile(const WholeFile&) = delete;
  WholeFile& operator=(const WholeFile&) = delete;

  // Until finish().
  File& operator*() const { return *file_; }
  File* operator->() const { return file_.get(); }
  // Empty for the caller's.
  const std::string& path() const { return path_; }
  // Durable under its path when this returns. Whatever fails before it has its name, it is removed.
  void finish();
  bool finished() const { return finished_; }

  // Where a file for `path` is until finish(). Who ends without the destructor, removes it.
  static std::string temporary_path(const std::string& path) { return path + ".tmp"; }

 private:
  Files* const files_ = nullptr;  // null: the caller's file
  const std::string path_;
  std::unique_ptr<File> file_;
  bool finished_ = false;
};

}  // namespace athanor
