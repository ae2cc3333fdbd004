#include "engine/cli/model_archive.h"

#include <archive.h>
#include <archive_entry.h>
#include <sys/statvfs.h>

#include <cerrno>
#include <memory>
#include <set>
#include <string_view>

#include "common/error.h"
#include "common/relative_path.h"

namespace athanor::llm {

namespace {

constexpr std::size_t kPieceBytes = 1 << 20;
// Others write to the disk too, and a folder takes room of its own.
constexpr std::uint64_t kSpareBytes = 64 << 20;

struct FreeRead {
  void operator()(archive* reader) const { archive_read_free(reader); }
};
using Reader = std::unique_ptr<archive, FreeRead>;

// libarchive counts a warning as success.
int checked(archive* reader, int result, const std::string& path) {
  if (result >= ARCHIVE_WARN) return result;
  const char* why = archive_error_string(reader);
  throw Error(ErrorKind::kCorrupt, "Unpacking {}: {}. It must be a whole tar archive, compressed by gzip or not at all",
              path, why == nullptr ? "it cannot be read" : why);
}

// "./model/config.json" is "model/config.json"; the archive's own folder, "./", is "".
std::string relative_name(archive_entry* entry) {
  const char* told = archive_entry_pathname(entry);
  if (told == nullptr) told = archive_entry_pathname_utf8(entry);  // a name that the locale does not have
  std::string_view name = told == nullptr ? "" : told;
  while (name.starts_with("./")) name.remove_prefix(2);
  while (name.ends_with('/')) name.remove_suffix(1);
  return name == "." ? "" : std::string(name);
}

void refuse(const std::string& archive, const std::string& name, std::string_view why) {
  throw Error(ErrorKind::kInvalid, "Unpacking {}: \"{}\" {}", archive, name, why);
}

void write_file(Files& files, archive* reader, const std::string& archive, const std::string& path,
                std::uint64_t size) {
  const std::unique_ptr<File> file = files.open(path, Files::Open::kCreateNew, 0644);
  const void* bytes = nullptr;
  std::size_t count = 0;
  la_int64_t offset = 0;
  while (checked(reader, archive_read_data_block(reader, &bytes, &count, &offset), archive) != ARCHIVE_EOF) {
    const auto at = static_cast<std::uint64_t>(offset);
    if (offset < 0 || at > size || count > size - at) refuse(archive, path, "is longer than it says");
    file->write_at(at, {static_cast<const char*>(bytes), count});
  }
  file->truncate(size);  // holes at its end
}

}  // namespace

bool is_model_archive(const std::string& path) {
  return path.ends_with(".tar.gz") || path.ends_with(".tgz") || path.ends_with(".tar");
}

void unpack_model(Files& files, const std::string& archive_path, const std::string& folder, std::uint64_t room_bytes) {
  if (!files.stat(archive_path)) throw Error(ErrorKind::kNotFound, "Unpacking {}: it does not exist", archive_path);
  const Reader reader(archive_read_new());
  ATHANOR_ASSERT(reader != nullptr);
  archive_read_support_filter_gzip(reader.get());
  archive_read_support_format_tar(reader.get());
  checked(reader.get(), archive_read_open_filename(reader.get(), archive_path.c_str(), kPieceBytes), archive_path);
  std::uint64_t left = room_bytes, written = 0;
  std::set<std::string> names;
  archive_entry* entry = nullptr;
  while (checked(reader.get(), archive_read_next_header(reader.get(), &entry), archive_path) != ARCHIVE_EOF) {
    const std::string name = relative_name(entry);
    const bool is_folder = archive_entry_filetype(entry) == AE_IFDIR;
    if (is_folder && name.empty()) continue;
    if (!is_relative_path(name)) refuse(archive_path, name, "leads out of its folder, and is not unpacked");
    if (is_folder) continue;  // those that hold something are made for it
    if (archive_entry_hardlink(entry) || archive_entry_filetype(entry) != AE_IFREG) {
      refuse(archive_path, name,
             "is no regular file, and only these are unpacked: make the archive with the files that links lead to (tar "
             "-h)");
    }
    if (!names.insert(name).second) refuse(archive_path, name, "is in it twice");
    if (names.size() > kArchiveFilesMax) {
      throw Error(ErrorKind::kInvalid, "Unpacking {}: it holds more than {} files, and is no model", archive_path,
                  kArchiveFilesMax);
    }
    const auto size = static_cast<std::uint64_t>(archive_entry_size(entry));
    if (size > left) {
      throw Error(ErrorKind::kExhausted,
                  "Unpacking {}: with \"{}\" its files have {} bytes, and there is room for {} in {}. Give the job a "
                  "larger volume, or TMPDIR a folder on a larger disk",
                  archive_path, name, written + size, room_bytes, folder);
    }
    left -= size;
    written += size;
    const std::string path = folder + "/" + name;
    files.make_folders(path.substr(0, path.rfind('/')));
    write_file(files, reader.get(), archive_path, path, size);
  }
  if (names.empty()) throw Error(ErrorKind::kInvalid, "Unpacking {}: it holds no files", archive_path);
}

std::uint64_t room_in(const std::string& folder) {
  struct statvfs disk {};
  if (::statvfs(folder.c_str(), &disk) != 0) throw system_error(errno, "asking for the free space of " + folder);
  const std::uint64_t free_bytes = static_cast<std::uint64_t>(disk.f_bavail) * disk.f_frsize;
  return free_bytes > kSpareBytes ? free_bytes - kSpareBytes : 0;
}

}  // namespace athanor::llm
