// A file mapped into memory for reading: opening it costs nothing, reading costs what is read, and processes share the
// pages. It may be removed while it is open. Immutable; any thread.
#pragma once

#include <string>
#include <string_view>

namespace athanor {

class MappedFile {
 public:
  // Throws kNotFound, kDenied, kInvalid (no regular file).
  explicit MappedFile(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const std::string& path() const { return path_; }
  // Good while the object lives.
  std::string_view bytes() const { return bytes_; }

 private:
  const std::string path_;
  std::string_view bytes_;
};

}  // namespace athanor
