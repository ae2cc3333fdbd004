#include "platform/node/folder_view.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>

#include "common/error.h"

namespace athanor::node {

namespace {

struct CloseFolder {
  void operator()(DIR* folder) const { ::closedir(folder); }
};

bool vanished(int error_number) { return error_number == ENOENT || error_number == ENOTDIR; }

}  // namespace

FolderView::FolderView(const std::string& path, std::string called)
    : path_(called.empty() ? path : std::move(called)),
      folder_(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)) {
  if (!folder_) throw system_error(errno, "opening the folder " + path_);
}

std::optional<FolderView> FolderView::folder(const std::string& path) const {
  const std::string called = path_ + "/" + path;
  Descriptor inner(open_beneath(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, false));
  if (inner) return FolderView(called, std::move(inner));
  if (errno == ENOENT) return std::nullopt;
  if (errno == ENOTDIR || errno == ELOOP) {
    throw Error(ErrorKind::kInvalid, "opening the folder {}: a link or a file is in its place", called);
  }
  throw system_error(errno, "opening the folder " + called);
}

int FolderView::open_beneath(const std::string& path, int flags, bool follow) const {
  open_how how{};
  how.flags = static_cast<std::uint64_t>(flags | O_CLOEXEC);
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | (follow ? 0 : RESOLVE_NO_SYMLINKS);
  // EAGAIN: something was renamed while the kernel looked; it asks to try again.
  for (int tries = 0;; ++tries) {
    const auto opened = ::syscall(SYS_openat2, folder_.get(), path.c_str(), &how, sizeof how);
    if (opened >= 0 || errno != EAGAIN || tries == 100) return static_cast<int>(opened);
  }
}

std::vector<FolderEntry> FolderView::walk(const std::string& from) const {
  std::vector<FolderEntry> entries;
  const int start = open_beneath(from.empty() ? "." : from, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, false);
  if (start < 0) {
    if (vanished(errno) || errno == ELOOP) return entries;
    throw system_error(errno, "listing " + path_ + "/" + from);
  }
  walk_into(start, from.empty() ? "" : from + "/", 0, entries);
  return entries;
}

// Takes `folder` over.
void FolderView::walk_into(int folder, const std::string& prefix, int depth, std::vector<FolderEntry>& into) const {
  if (depth > kDepthMax) {
    ::close(folder);
    throw Error(ErrorKind::kExhausted, "listing {}/{}: folders are nested more than {} deep", path_, prefix, kDepthMax);
  }
  const std::unique_ptr<DIR, CloseFolder> listing(::fdopendir(folder));
  if (!listing) {
    const int failure = errno;
    ::close(folder);
    throw system_error(failure, "listing " + path_ + "/" + prefix);
  }
  std::vector<std::string> names;
  while (const dirent* entry = ::readdir(listing.get())) {
    if (std::strcmp(entry->d_name, ".") != 0 && std::strcmp(entry->d_name, "..") != 0) {
      names.emplace_back(entry->d_name);
    }
    if (names.size() > kEntriesMax) throw Error(ErrorKind::kExhausted, "listing {}: too many files", path_);
  }
  std::sort(names.begin(), names.end());
  for (const std::string& name : names) {
    struct stat info {};
    if (::fstatat(::dirfd(listing.get()), name.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0) {
      if (vanished(errno)) continue;
      throw system_error(errno, "looking at " + path_ + "/" + prefix + name);
    }
    if (into.size() >= kEntriesMax) throw Error(ErrorKind::kExhausted, "listing {}: too many files", path_);
    FolderEntry entry;
    entry.path = prefix + name;
    entry.size = static_cast<std::uint64_t>(info.st_size);
    entry.modified_ns = info.st_mtim.tv_sec * 1'000'000'000 + info.st_mtim.tv_nsec;
    entry.inode = info.st_ino;
    entry.mode = info.st_mode & 07777;
    if (S_ISREG(info.st_mode)) {
      entry.type = FolderEntry::Type::kFile;
    } else if (S_ISDIR(info.st_mode)) {
      entry.type = FolderEntry::Type::kFolder;
    } else if (S_ISLNK(info.st_mode)) {
      entry.type = FolderEntry::Type::kLink;
      char target[PATH_MAX];
      const ssize_t length = ::readlinkat(::dirfd(listing.get()), name.c_str(), target, sizeof target);
      if (length < 0) continue;
      entry.target.assign(target, static_cast<std::size_t>(length));
    } else {
      entry.type = FolderEntry::Type::kOther;
    }
    into.push_back(entry);
    if (entry.type != FolderEntry::Type::kFolder) continue;
    const int inner = ::openat(::dirfd(listing.get()), name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (inner < 0) {
      if (vanished(errno) || errno == ELOOP) continue;
      throw system_error(errno, "listing " + path_ + "/" + entry.path);
    }
    walk_into(inner, entry.path + "/", depth + 1, into);
  }
}

std::optional<Descriptor> FolderView::open(const std::string& path, bool follow) const {
  // Without blocking: a FIFO would wait for a writer.
  Descriptor file(open_beneath(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | (follow ? 0 : O_NOFOLLOW), follow));
  if (!file) {
    if (errno == EACCES || errno == EPERM) throw system_error(errno, "opening " + path_ + "/" + path);
    return std::nullopt;
  }
  struct stat info {};
  if (::fstat(file.get(), &info) != 0 || !S_ISREG(info.st_mode)) return std::nullopt;
  return file;
}

std::optional<std::string> FolderView::read(const std::string& path, std::size_t bytes_max) const {
  const std::optional<Descriptor> file = open(path);
  if (!file) return std::nullopt;
  std::string bytes(bytes_max, '\0');
  std::size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t got = ::read(file->get(), bytes.data() + done, bytes.size() - done);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw system_error(errno, "reading " + path_ + "/" + path);
    if (got == 0) break;
    done += static_cast<std::size_t>(got);
  }
  bytes.resize(done);
  return bytes;
}

bool link_stays_inside(const std::string& path, const std::string& target) {
  if (target.empty() || target.front() == '/') return false;
  // How deep below the folder the link's own folder is; each ".." takes one away.
  auto depth = std::count(path.begin(), path.end(), '/');
  std::size_t at = 0;
  while (at <= target.size()) {
    const std::size_t end = std::min(target.find('/', at), target.size());
    const std::string name = target.substr(at, end - at);
    if (name == "..") {
      if (--depth < 0) return false;
    } else if (!name.empty() && name != ".") {
      ++depth;
    }
    at = end + 1;
  }
  return true;
}

}  // namespace athanor::node
