// A folder of its own, however many processes make one at once, removed with everything in it when this ends.
#pragma once

#include <stdlib.h>

#include <cerrno>
#include <filesystem>
#include <string>
#include <system_error>

#include "common/error.h"
#include "common/files.h"

namespace athanor {

class TemporaryFolder {
 public:
  // Made below TMPDIR, or /tmp; readable by its owner only. Throws athanor::Error where none can be made.
  TemporaryFolder() {
    std::error_code error;
    const std::filesystem::path place = std::filesystem::temp_directory_path(error);
    if (error) throw system_error(error.value(), "Finding a place for temporary files (TMPDIR, else /tmp)");
    path_ = (place / "athanor-XXXXXX").string();
    if (!::mkdtemp(path_.data())) {
      throw system_error(errno, "Making a temporary folder below " + place.string() + " (TMPDIR names another place)");
    }
  }
  // What cannot be removed stays: nobody is there to be told.
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
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
