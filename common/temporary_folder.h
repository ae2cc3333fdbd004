// A folder of its own for each test, however many run at once, removed with everything in it.
#pragma once

#include <stdlib.h>

#include <cerrno>
#include <filesystem>
#include <string>
#include <system_error>

#include "common/files.h"

namespace athanor {

class TemporaryFolder {
 public:
  // Made below TMPDIR, or /tmp; readable by its owner only. Throws std::system_error where none can be made.
  TemporaryFolder() : path_((std::filesystem::temp_directory_path() / "athanor-test-XXXXXX").string()) {
    if (!::mkdtemp(path_.data())) throw std::system_error(errno, std::generic_category(), path_);
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  const std::string& path() const { return path_; }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

  // Writes a file below the folder, with the folders that it needs; returns its path.
  std::string put(const std::string& name, const std::string& contents) const {
    const std::string file = *this / name;
    std::filesystem::create_directories(std::filesystem::path(file).parent_path());
    SystemFiles().replace(file, contents);
    return file;
  }

 private:
  std::string path_;
};

}  // namespace athanor
