#include "common/files.h"

#include "common/error.h"

namespace athanor {

std::string folder_of(const std::string& path) {
  const auto slash = path.rfind('/');
  return slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
}

void Files::sync_folder_of(const std::string& path) { sync_folder(folder_of(path)); }

std::string Files::read_all(const std::string& path) {
  const auto file = open(path, Open::kRead);
  std::string contents(file->size(), '\0');
  std::size_t done = 0;
  for (;;) {
    // One byte beyond the reported size: files in /proc report 0, and others grow while they are read.
    if (done == contents.size()) contents.resize(contents.size() + 4096);
    const std::size_t got = file->read_at(done, std::span(contents).subspan(done));
    if (got == 0) break;
    done += got;
  }
  contents.resize(done);
  return contents;
}

void Files::replace(const std::string& path, std::string_view contents, std::uint32_t mode) {
  const std::string temporary = path + ".tmp";
  {
    const auto file = open(temporary, Open::kTruncate, mode);
    file->append(contents);
    file->sync();
  }
  rename(temporary, path);
  sync_folder_of(path);
}

void Files::remove_all(const std::string& path) {
  const auto info = stat(path);
  if (!info) return;
  if (info->type == FileInfo::Type::kFolder) {
    for (const auto& name : list(path)) remove_all(path + "/" + name);
  }
  remove(path);
}

}  // namespace athanor
