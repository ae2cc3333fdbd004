#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "common/error.h"
#include "common/files.h"

namespace athanor {

namespace {

class SystemFile final : public File {
 public:
  SystemFile(int descriptor, std::string path) : descriptor_(descriptor), path_(std::move(path)) {}
  ~SystemFile() override { ::close(descriptor_); }
  SystemFile(const SystemFile&) = delete;
  SystemFile& operator=(const SystemFile&) = delete;

  std::size_t read_at(std::uint64_t offset, std::span<char> into) override {
    for (;;) {
      const ssize_t got = ::pread(descriptor_, into.data(), into.size(), static_cast<off_t>(offset));
      if (got >= 0) return static_cast<std::size_t>(got);
      if (errno != EINTR) throw system_error(errno, "reading " + path_);
    }
  }

  void write_at(std::uint64_t offset, std::string_view bytes) override {
    while (!bytes.empty()) {
      const ssize_t put = ::pwrite(descriptor_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
      if (put < 0 && errno == EINTR) continue;
      if (put < 0) throw system_error(errno, "writing " + path_);
      bytes.remove_prefix(static_cast<std::size_t>(put));
      offset += static_cast<std::uint64_t>(put);
    }
  }

  void append(std::string_view bytes) override { write_at(size(), bytes); }

  std::uint64_t size() override {
    struct stat info {};
    if (::fstat(descriptor_, &info) != 0) throw system_error(errno, "reading the size of " + path_);
    return static_cast<std::uint64_t>(info.st_size);
  }

  void truncate(std::uint64_t size) override {
    if (::ftruncate(descriptor_, static_cast<off_t>(size)) != 0) throw system_error(errno, "truncating " + path_);
  }

  void sync() override {
    if (::fdatasync(descriptor_) != 0) throw system_error(errno, "writing " + path_ + " to the device");
  }

  void start_writing(std::uint64_t offset, std::uint64_t length) override {
    // A hint has no errors: what goes wrong on the way, sync() reports.
    (void)::sync_file_range(descriptor_, static_cast<off_t>(offset), static_cast<off_t>(length), SYNC_FILE_RANGE_WRITE);
  }

  void free_range(std::uint64_t offset, std::uint64_t length) override {
    if (length == 0) return;
    (void)::fallocate(descriptor_, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset),
                      static_cast<off_t>(length));
  }

 private:
  const int descriptor_;
  const std::string path_;
};

}  // namespace

std::unique_ptr<File> SystemFiles::open(const std::string& path, Open how, std::uint32_t mode) {
  int flags = O_CLOEXEC;
  switch (how) {
    case Open::kRead: flags |= O_RDONLY; break;
    case Open::kCreate: flags |= O_RDWR | O_CREAT; break;
    case Open::kCreateNew: flags |= O_RDWR | O_CREAT | O_EXCL; break;
    case Open::kTruncate: flags |= O_RDWR | O_CREAT | O_TRUNC; break;
  }
  const int descriptor = ::open(path.c_str(), flags, mode);
  if (descriptor < 0) throw system_error(errno, "opening " + path);
  return std::make_unique<SystemFile>(descriptor, path);
}

std::optional<FileInfo> SystemFiles::stat(const std::string& path) {
  struct stat info {};
  if (::lstat(path.c_str(), &info) != 0) {
    if (errno == ENOENT || errno == ENOTDIR) return std::nullopt;
    throw system_error(errno, "looking at " + path);
  }
  FileInfo result;
  result.type = S_ISREG(info.st_mode)   ? FileInfo::Type::kFile
                : S_ISDIR(info.st_mode) ? FileInfo::Type::kFolder
                : S_ISLNK(info.st_mode) ? FileInfo::Type::kLink
                                        : FileInfo::Type::kOther;
  result.size = static_cast<std::uint64_t>(info.st_size);
  result.modified_ns = info.st_mtim.tv_sec * 1'000'000'000 + info.st_mtim.tv_nsec;
  result.mode = info.st_mode & 07777;
  return result;
}

std::vector<std::string> SystemFiles::list(const std::string& path) {
  DIR* folder = ::opendir(path.c_str());
  if (folder == nullptr) throw system_error(errno, "listing " + path);
  std::vector<std::string> names;
  errno = 0;
  while (const dirent* entry = ::readdir(folder)) {
    if (std::strcmp(entry->d_name, ".") != 0 && std::strcmp(entry->d_name, "..") != 0) {
      names.emplace_back(entry->d_name);
    }
    errno = 0;
  }
  const int failure = errno;
  ::closedir(folder);
  if (failure != 0) throw system_error(failure, "listing " + path);
  std::sort(names.begin(), names.end());
  return names;
}

void SystemFiles::make_folders(const std::string& path, std::uint32_t mode) {
  if (::mkdir(path.c_str(), mode) == 0) return;
  if (errno == ENOENT) {
    const auto slash = path.rfind('/');
    if (slash != std::string::npos && slash > 0) {
      make_folders(path.substr(0, slash), mode);
      if (::mkdir(path.c_str(), mode) == 0) return;
    }
  }
  const int failure = errno;
  struct stat info {};
  if (failure == EEXIST && ::stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode)) return;
  throw system_error(failure, "making the folder " + path);
}

void SystemFiles::rename(const std::string& from, const std::string& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) throw system_error(errno, "renaming " + from + " to " + to);
}

bool SystemFiles::remove(const std::string& path) {
  if (::remove(path.c_str()) == 0) return true;
  if (errno == ENOENT) return false;
  throw system_error(errno, "removing " + path);
}

void SystemFiles::sync_folder(const std::string& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) throw system_error(errno, "opening the folder " + path);
  const int result = ::fsync(descriptor);
  const int failure = errno;
  ::close(descriptor);
  if (result != 0) throw system_error(failure, "writing the folder " + path + " to the device");
}

}  // namespace athanor
