#include "common/remove_tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <vector>

#include "common/error.h"
#include "common/files.h"

namespace athanor {

namespace {

constexpr int kDepthMax = 64;  // a descriptor each

struct CloseFolder {
  void operator()(DIR* folder) const { ::closedir(folder); }
};
using Folder = std::unique_ptr<DIR, CloseFolder>;

Folder open_folder(int parent, const char* name) {
  const int number = ::openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (number < 0) return nullptr;
  Folder folder(::fdopendir(number));
  if (!folder) ::close(number);
  return folder;
}

class Remover {
 public:
  Remover(std::string above, int top) : above_(std::move(above)), top_(top) {}

  void remove_all(const std::string& name) {
    remove(top_, name, 0);
    while (!deep_.empty()) {
      const std::string next = std::move(deep_.back());
      deep_.pop_back();
      remove(top_, next, 0);
    }
  }

 private:
  void remove(int parent, const std::string& name, int depth) {
    if (::unlinkat(parent, name.c_str(), 0) == 0 || errno == ENOENT) return;
    if (errno != EISDIR && errno != EPERM) throw system_error(errno, "removing " + name + " below " + above_);
    if (::unlinkat(parent, name.c_str(), AT_REMOVEDIR) == 0 || errno == ENOENT) return;
    ::fchmodat(parent, name.c_str(), 0700, 0);  // what it did not help shows below
    if (depth == kDepthMax) return move_up(parent, name);
    const Folder folder = open_folder(parent, name.c_str());
    if (!folder) throw system_error(errno, "opening " + name + " below " + above_);
    std::vector<std::string> names;
    while (const dirent* entry = ::readdir(folder.get())) {
      if (std::strcmp(entry->d_name, ".") != 0 && std::strcmp(entry->d_name, "..") != 0) {
        names.emplace_back(entry->d_name);
      }
    }
    for (const std::string& inner : names) remove(::dirfd(folder.get()), inner, depth + 1);
    if (::unlinkat(parent, name.c_str(), AT_REMOVEDIR) != 0 && errno != ENOENT) {
      throw system_error(errno, "removing " + name + " below " + above_);
    }
  }

  // To be removed from the top, when its turn comes.
  void move_up(int parent, const std::string& name) {
    const std::string place = fmt::format(".removed-{}-{}", ::getpid(), ++moved_);
    if (::renameat(parent, name.c_str(), top_, place.c_str()) != 0) {
      throw system_error(errno, "removing " + name + " below " + above_);
    }
    deep_.push_back(place);
  }

  const std::string above_;
  const int top_;
  std::uint64_t moved_ = 0;
  std::vector<std::string> deep_;
};

}  // namespace

void remove_tree(const std::string& path) {
  const auto slash = path.rfind('/');
  const std::string above = folder_of(path);
  const Folder top = open_folder(AT_FDCWD, above.c_str());
  if (!top) {
    if (errno == ENOENT) return;
    throw system_error(errno, "opening " + above);
  }
  Remover(above, ::dirfd(top.get())).remove_all(path.substr(slash == std::string::npos ? 0 : slash + 1));
}

}  // namespace athanor
