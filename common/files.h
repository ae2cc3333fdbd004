// The file system as a seam. What must survive a crash (control, agent, stores, checkpoints) writes through this, so
// that a test can stop it at every write, fsync and rename, or hand it a full disk.
//
// Every call throws athanor::Error with the path in its text. Paths are the operating system's. Any thread may call;
// one File belongs to one thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace athanor {

// An open file; closed when destroyed (a close that reports a lost write is the job of sync()).
class File {
 public:
  virtual ~File() = default;
  // Reads up to `into.size()` bytes at `offset`; returns 0 only at the end of the file.
  virtual std::size_t read_at(std::uint64_t offset, std::span<char> into) = 0;
  // Writes all of `bytes` at `offset`.
  virtual void write_at(std::uint64_t offset, std::string_view bytes) = 0;
  // Writes all of `bytes` at the end.
  virtual void append(std::string_view bytes) = 0;
  virtual std::uint64_t size() = 0;
  virtual void truncate(std::uint64_t size) = 0;
  // Returns when the contents are on the device (fdatasync).
  virtual void sync() = 0;
  // A hint: these bytes may be on their way to the device already, so that a later sync() is short. Does not wait.
  virtual void start_writing(std::uint64_t offset, std::uint64_t length) { (void)offset, (void)length; }
  // A hint: nobody will read these bytes again, so that the space they take may be used for others. They may read as zeros.
  virtual void free_range(std::uint64_t offset, std::uint64_t length) { (void)offset, (void)length; }
};

struct FileInfo {
  enum class Type { kFile, kFolder, kLink, kOther };
  Type type = Type::kFile;
  std::uint64_t size = 0;
  std::int64_t modified_ns = 0;  // since 1970-01-01 UTC
  std::uint32_t mode = 0;        // permission bits
};

// The folder that a path lies in: "." for a bare name, "/" for what lies in the root.
std::string folder_of(const std::string& path);

class Files {
 public:
  enum class Open {
    kRead,       // must exist
    kCreate,     // made when absent; kept when present
    kCreateNew,  // must not exist
    kTruncate,   // made when absent; emptied when present
  };

  virtual ~Files() = default;
  virtual std::unique_ptr<File> open(const std::string& path, Open how, std::uint32_t mode = 0644) = 0;
  // Nothing when it does not exist. Links are not followed.
  virtual std::optional<FileInfo> stat(const std::string& path) = 0;
  // Names in a folder, sorted, without "." and "..".
  virtual std::vector<std::string> list(const std::string& path) = 0;
  // Makes the folder and those above it that are absent.
  virtual void make_folders(const std::string& path, std::uint32_t mode = 0755) = 0;
  // Replaces `to` in one step.
  virtual void rename(const std::string& from, const std::string& to) = 0;
  // A file or an empty folder. Returns false when it did not exist.
  virtual bool remove(const std::string& path) = 0;
  // Makes names created, renamed or removed in this folder durable (fsync of the folder).
  virtual void sync_folder(const std::string& path) = 0;

  // The same for the folder that a path lies in: after the path was created, renamed or removed.
  void sync_folder_of(const std::string& path);
  // Whole files, in terms of the above.
  std::string read_all(const std::string& path);
  // Old contents or new, never a mixture, whatever happens: writes PATH.tmp, syncs, renames, syncs the folder.
  void replace(const std::string& path, std::string_view contents, std::uint32_t mode = 0644);
  // A folder and all below it; nothing to do when absent. Links are removed, not followed.
  void remove_all(const std::string& path);
};

// The operating system's.
class SystemFiles final : public Files {
 public:
  std::unique_ptr<File> open(const std::string& path, Open how, std::uint32_t mode) override;
  std::optional<FileInfo> stat(const std::string& path) override;
  std::vector<std::string> list(const std::string& path) override;
  void make_folders(const std::string& path, std::uint32_t mode) override;
  void rename(const std::string& from, const std::string& to) override;
  bool remove(const std::string& path) override;
  void sync_folder(const std::string& path) override;
};

}  // namespace athanor
