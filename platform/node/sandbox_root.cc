#include "platform/node/sandbox_root.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdint>
#include <cstring>
#include <set>

#include "common/error.h"
#include "common/files.h"

namespace athanor::node {

namespace {

// linux/mount.h cannot stand beside sys/mount.h.
struct MountAttributes {
  std::uint64_t set = 0;
  std::uint64_t clear = 0;
  std::uint64_t propagation = 0;
  std::uint64_t user_namespace = 0;
};
constexpr std::uint64_t kReadOnly = 0x1;   // MOUNT_ATTR_RDONLY
constexpr unsigned kRecursively = 0x8000;  // AT_RECURSIVE
constexpr std::size_t kDescendMax = 64;    // entries of a folder that is taken apart

const std::set<std::string> kLeftOut = {"proc", "sys", "dev", "run", "tmp", "home", "root", "boot", "lost+found"};
// Folders of the host in which a job may make files (in its overlay): elsewhere the host's own permissions hold.
const std::vector<std::string> kWritable = {"/usr/local",         "/usr/local/bin", "/usr/local/etc",
                                            "/usr/local/include", "/usr/local/lib", "/usr/local/sbin",
                                            "/usr/local/share",   "/usr/local/src", "/var/cache",
                                            "/var/lib",           "/var/log",       "/var/opt"};

enum class Kind { kNone, kFolder, kLink, kOther };
Kind kind_of(const std::string& path) {
  struct stat info {};
  if (::lstat(path.c_str(), &info) != 0) return Kind::kNone;
  if (S_ISDIR(info.st_mode)) return Kind::kFolder;
  return S_ISLNK(info.st_mode) ? Kind::kLink : Kind::kOther;
}

void make_folder(const std::string& path, mode_t mode = 0755) {
  if (::mkdir(path.c_str(), mode) != 0 && errno != EEXIST) throw system_error(errno, "making the folder " + path);
  if (mode != 0755 && ::chmod(path.c_str(), mode) != 0) throw system_error(errno, "setting permissions of " + path);
}

void write_file(const std::string& path, const std::string& contents) {
  SystemFiles().open(path, Files::Open::kTruncate, 0644)->append(contents);
}

std::vector<std::string> top_level() { return SystemFiles().list("/"); }

// Where the overlay of the top-level folder NAME keeps what the job writes, and what the kernel needs beside it.
std::string upper(const std::string& folder, const std::string& name) { return folder + "/layers/upper/" + name; }
std::string work(const std::string& folder, const std::string& name) { return folder + "/layers/work/" + name; }

// An empty folder of the host's needs no overlay: the job gets an empty one of its own.
bool is_empty(const std::string& path) {
  try {
    return SystemFiles().list(path).empty();
  } catch (const Error&) {
    return false;  // not ours to read
  }
}

// The top-level folders that are shown as they are on the host, apart from what the job writes there; /opt is always one.
std::vector<std::string> overlaid() {
  std::vector<std::string> names = {"opt"};
  for (const std::string& name : top_level()) {
    const std::string path = "/" + name;
    if (name != "opt" && !kLeftOut.contains(name) && kind_of(path) == Kind::kFolder && !is_empty(path)) {
      names.push_back(name);
    }
  }
  return names;
}

// Mount points strictly below a folder, from /proc/self/mountinfo.
class MountPoints {
 public:
  MountPoints() {
    const std::string text = SystemFiles().read_all("/proc/self/mountinfo");
    std::size_t at = 0;
    while (at < text.size()) {
      const std::size_t end = std::min(text.find('\n', at), text.size());
      // "36 35 98:0 /mnt1 /mnt2 rw,noatime …": the fifth field, spaces in it as \040
      std::size_t from = at;
      for (int field = 0; field < 4 && from < end; ++field) from = text.find(' ', from) + 1;
      points_.push_back(text.substr(from, text.find(' ', from) - from));
      at = end + 1;
    }
  }
  bool below(const std::string& folder) const {
    return std::any_of(points_.begin(), points_.end(),
                       [&](const std::string& point) { return point.starts_with(folder + "/"); });
  }

 private:
  std::vector<std::string> points_;
};

// The host's accounts with the job's own user in front: programs ask for the name of their uid.
std::string accounts(const std::string& file, const std::string& entry, int id) {
  std::string result = entry + "\n";
  std::string text;
  try {
    text = SystemFiles().read_all(file);
  } catch (const Error&) {
    return result;  // a host without accounts: ours is enough
  }
  std::size_t at = 0;
  while (at < text.size()) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    const std::string line = text.substr(at, end - at);
    at = end + 1;
    const bool same_name = line.starts_with(std::string(kSandboxUser) + ":");
    const auto second = line.find(':', line.find(':') + 1);
    const bool same_id = second != std::string::npos && line.substr(second + 1).starts_with(fmt::format("{}:", id));
    if (!same_name && !same_id) result += line + "\n";
  }
  return result;
}

void write_etc(const SandboxRoot& root, const std::string& folder) {
  std::string hosts = "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n";
  for (const auto& [address, name] : root.hosts) hosts += address + " " + name + "\n";
  write_file(folder + "/hosts", hosts);
  write_file(folder + "/hostname", root.host + "\n");
  write_file(folder + "/resolv.conf",
             "# No name servers: a job's network leads to its own instances and to the endpoint.\n");
  write_file(folder + "/passwd",
             accounts("/etc/passwd",
                      fmt::format("{0}:x:{1}:{1}:training job:/home/{0}:/bin/bash", kSandboxUser, kSandboxUid),
                      kSandboxUid));
  // Whatever groups the server's user is in.
  for (const char* secret : {"/shadow", "/gshadow"}) write_file(folder + secret, "");
  write_file(folder + "/group",
             accounts("/etc/group", fmt::format("{}:x:{}:", kSandboxUser, kSandboxUid), kSandboxUid));
}

void bind_mount(const std::string& from, const std::string& to) {
  if (::mount(from.c_str(), to.c_str(), nullptr, MS_BIND, nullptr) != 0) {
    throw system_error(errno, "showing " + from + " to the job at " + to);
  }
}

void bind_read_only(const std::string& from, const std::string& to) {
  if (::mount(from.c_str(), to.c_str(), nullptr, MS_BIND | MS_REC, nullptr) != 0) {
    throw system_error(errno, "showing " + from + " to the job");
  }
  MountAttributes attributes{.set = kReadOnly};
  if (::syscall(SYS_mount_setattr, AT_FDCWD, to.c_str(), kRecursively, &attributes, sizeof attributes) != 0) {
    throw system_error(errno, "making " + from + " read-only for the job");
  }
}

bool mount_overlay(const std::string& lower, const std::string& upper, const std::string& work, const std::string& at) {
  // Colons and commas end words of the option string; no top-level folder of a sane host has them.
  if (lower.find_first_of(":,\\") != std::string::npos) return false;
  const std::string options = fmt::format("lowerdir={},upperdir={},workdir={},userxattr", lower, upper, work);
  if (::mount("overlay", at.c_str(), "overlay", MS_NODEV | MS_NOSUID, (options + ",volatile").c_str()) != 0 &&
      ::mount("overlay", at.c_str(), "overlay", MS_NODEV | MS_NOSUID, options.c_str()) != 0) {
    return false;
  }
  // The kernel makes WORK/work without permissions; whoever removes the folder later need not be root.
  ::chmod((work + "/work").c_str(), 0700);
  return true;
}

// The mounts of one sandbox, and what had to be done otherwise.
class Mounter {
 public:
  explicit Mounter(const SandboxRoot& root) : root_(root), target_(root.folder + "/root") {}

  void show(const std::string& path) {  // "/usr"
    const std::string at = target_ + path;
    const std::string name = path.substr(1);
    if (!points_.below(path) && mount_overlay(path, upper(root_.folder, name), work(root_.folder, name), at)) return;
    std::vector<std::string> names;
    if (points_.below(path)) names = SystemFiles().list(path);
    if (names.empty() || names.size() > kDescendMax) {
      notes_.push_back(fmt::format("{} is read-only for the job: the kernel refused an overlay", path));
      bind_read_only(path, at);
      return;
    }
    // A file system is mounted somewhere inside: entry by entry, without writing beside them.
    notes_.push_back(fmt::format("{} is read-only for the job: a file system is mounted inside", path));
    for (const std::string& name : names) show_entry(path + "/" + name, at + "/" + name);
  }

  // An empty folder of the job's own at `path`, which may lie in something read-only.
  void empty(const std::string& path, const char* options) {
    const std::string at = target_ + path;
    if (kind_of(at) != Kind::kFolder) return;
    if (::mount("tmpfs", at.c_str(), "tmpfs", MS_NODEV | MS_NOSUID, options) != 0) {
      throw system_error(errno, "hiding " + path + " from the job");
    }
  }

  std::vector<std::string> take_notes() { return std::move(notes_); }

 private:
  void show_entry(const std::string& path, const std::string& at) {
    switch (kind_of(path)) {
      case Kind::kFolder:
        make_folder(at);
        if (path != "/var/tmp") bind_read_only(path, at);
        return;
      case Kind::kLink: {
        char link[PATH_MAX];
        const ssize_t length = ::readlink(path.c_str(), link, sizeof link - 1);
        if (length > 0 && ::symlink(std::string(link, static_cast<std::size_t>(length)).c_str(), at.c_str()) != 0 &&
            errno != EEXIST) {
          throw system_error(errno, "making the link " + at);
        }
        return;
      }
      case Kind::kOther: SystemFiles().open(at, Files::Open::kCreate, 0644); return bind_read_only(path, at);
      case Kind::kNone: return;
    }
  }

  const SandboxRoot& root_;
  const std::string target_;
  const MountPoints points_;
  std::vector<std::string> notes_;
};

}  // namespace

void lay_out_folders(const std::string& folder) {
  for (const char* name : {"/root", "/layers", "/layers/upper", "/layers/work", "/layers/home"}) {
    make_folder(folder + name);
  }
  for (const char* name : {"/layers/tmp", "/layers/var-tmp"}) make_folder(folder + name, 01777);
  make_folder(folder + "/layers/home/" + kSandboxUser, 0700);
  for (const std::string& name : overlaid()) {
    make_folder(upper(folder, name));
    make_folder(work(folder, name));
  }
  const std::string opt = upper(folder, "opt");
  for (const char* name : {"/ml", "/athanor", "/athanor/bin"}) make_folder(opt + name);
  for (const char* program : {"/athanor-launch", "/athanor-llm"}) write_file(opt + "/athanor/bin" + program, "");
  for (const std::string& path : kWritable) {
    const auto second = path.find('/', 1);
    if (kind_of(path) == Kind::kFolder) make_folder(upper(folder, path.substr(1, second - 1)) + path.substr(second));
  }
}

void lay_out_root(const SandboxRoot& root) {
  lay_out_folders(root.folder);
  if (kind_of("/etc") == Kind::kFolder) write_etc(root, upper(root.folder, "etc"));
}

namespace {

// What lies directly below "/", in memory: a place for every mount, the host's links, the few folders that start empty.
void make_top(const SandboxRoot& root, const std::string& target) {
  if (::mount("tmpfs", target.c_str(), "tmpfs", MS_NODEV | MS_NOSUID, "size=256m,mode=755") != 0) {
    throw system_error(errno, "making the job's root");
  }
  for (const std::string& name : top_level()) {
    const std::string path = "/" + name;
    const Kind kind = kind_of(path);
    char link[PATH_MAX];
    const ssize_t length = kind == Kind::kLink ? ::readlink(path.c_str(), link, sizeof link) : -1;
    if (length > 0 &&
        ::symlink(std::string(link, static_cast<std::size_t>(length)).c_str(), (target + path).c_str()) != 0) {
      throw system_error(errno, "making the link " + target + path);
    }
    if (kind == Kind::kFolder && !kLeftOut.contains(name)) make_folder(target + path);
  }
  for (const char* name : {"/proc", "/sys", "/dev", "/run", "/run/lock", "/home", "/opt", "/tmp"}) {
    make_folder(target + name);
  }
  make_folder(target + "/root", 0700);
  for (const char* name : {"/home", "/tmp"}) {
    bind_mount(root.folder + "/layers" + name, target + name);  // on disk: they may grow
  }
}

}  // namespace

std::vector<std::string> mount_root(const SandboxRoot& root) {
  const std::string target = root.folder + "/root";
  if (::mount("none", "/", nullptr, MS_SLAVE | MS_REC, nullptr) != 0) throw system_error(errno, "parting the mounts");
  Mounter mounter(root);
  make_top(root, target);
  for (const std::string& name : overlaid()) {
    if (name != "opt") mounter.show("/" + name);
  }
  // /opt also where the host has none, or none that can be overlaid.
  if (kind_of("/opt") != Kind::kFolder ||
      !mount_overlay("/opt", upper(root.folder, "opt"), work(root.folder, "opt"), target + "/opt")) {
    bind_mount(upper(root.folder, "opt"), target + "/opt");
  }
  bind_mount(root.folder + "/ml", target + "/opt/ml");
  for (const char* program : {"/athanor-launch", "/athanor-llm"}) {
    if (kind_of(root.programs + program) != Kind::kNone) {
      bind_read_only(root.programs + program, target + "/opt/athanor/bin" + program);
    }
  }
  if (kind_of(target + "/var/tmp") == Kind::kFolder) bind_mount(root.folder + "/layers/var-tmp", target + "/var/tmp");
  for (const char* name : {"hosts", "resolv.conf", "hostname", "passwd", "group"}) {
    const std::string ours = upper(root.folder, "etc") + "/" + name;
    const std::string seen = target + "/etc/" + name;
    struct stat a {};
    struct stat b {};
    if (::stat(ours.c_str(), &a) == 0 && ::lstat(seen.c_str(), &b) == 0 && S_ISREG(b.st_mode) && a.st_ino != b.st_ino) {
      bind_read_only(ours, seen);
    }
  }
  for (const std::string& path : root.hidden) mounter.empty(path, "size=64k,mode=555");
  std::vector<std::string> notes = mounter.take_notes();
  if (::mount("sysfs", (target + "/sys").c_str(), "sysfs", MS_RDONLY | MS_NODEV | MS_NOSUID | MS_NOEXEC, nullptr) !=
      0) {
    notes.push_back("/sys is empty for the job: the kernel refused one of its own");
  }
  return notes;
}

}  // namespace athanor::node
