#include "platform/node/artifacts.h"

#include <archive.h>
#include <archive_entry.h>
#include <fmt/format.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <exception>
#include <memory>
#include <set>

#include "common/error.h"
#include "common/log.h"

namespace athanor::node {

namespace {

constexpr std::size_t kPieceBytes = 256 << 10;
// Models are all but incompressible: a higher level costs time and saves nothing.
constexpr const char* kFilterOptions = "gzip:compression-level=1,gzip:!timestamp";

struct FreeRead {
  void operator()(archive* reader) const { archive_read_free(reader); }
};
struct FreeEntry {
  void operator()(archive_entry* entry) const { archive_entry_free(entry); }
};
using Entry = std::unique_ptr<archive_entry, FreeEntry>;

// Below /opt/ml.
constexpr const char* kModel = "model";
constexpr const char* kOutput = "output/data";

std::string shown(const FolderView& view, const std::string& path) { return view.path() + "/" + path; }

Error cannot_upload(const std::string& why) {
  return Error(ErrorKind::kDenied, "ClientError: Unable to upload the job's artifacts: {}", why);
}

Error cannot_read(const FolderView& view, const std::string& path, const std::string& why) {
  return cannot_upload(shown(view, path) + ": " + why);
}

}  // namespace

// A tar archive that is written to S3 as it grows.
class Artifacts::Archive {
 public:
  Archive(std::unique_ptr<storage::S3Client::Upload> upload, bool compress, std::function<void()> check)
      : upload_(std::move(upload)), check_(std::move(check)), writer_(archive_write_new()) {
    ATHANOR_ASSERT(writer_ != nullptr);
    archive_write_set_format_pax_restricted(writer_);
    if (compress) archive_write_add_filter_gzip(writer_);
    if (compress) archive_write_set_options(writer_, kFilterOptions);
    archive_write_set_bytes_per_block(writer_, kPieceBytes);
    archive_write_set_bytes_in_last_block(writer_, 1);
    run(archive_write_open(writer_, this, nullptr, &Archive::write_piece, nullptr));
  }
  // Without finish() the upload undoes itself; libarchive must not write to it any more.
  ~Archive() {
    abandoned_ = true;
    archive_write_free(writer_);
  }
  Archive(const Archive&) = delete;
  Archive& operator=(const Archive&) = delete;

  // False when a file of that name is in it already.
  bool begin(archive_entry* entry) {
    std::string name = archive_entry_pathname(entry);
    while (name.ends_with('/')) name.pop_back();  // a folder's, as an archive tells it
    if (!names_.insert(std::move(name)).second) return false;
    run(archive_write_header(writer_, entry));
    return true;
  }
  void data(const char* bytes, std::size_t size) {
    while (size > 0) {
      const la_ssize_t put = archive_write_data(writer_, bytes, size);
      if (put < 0) run(static_cast<int>(put));
      if (put == 0) throw Error(ErrorKind::kInternal, "writing an archive: a file grew while it was read");
      bytes += put;
      size -= static_cast<std::size_t>(put);
    }
  }
  void finish() {
    run(archive_write_close(writer_));
    upload_->finish();
  }

 private:
  static la_ssize_t write_piece(archive*, void* self, const void* bytes, std::size_t size) {
    auto* archive = static_cast<Archive*>(self);
    if (archive->abandoned_) return static_cast<la_ssize_t>(size);
    try {
      archive->check_();
      archive->upload_->write({static_cast<const char*>(bytes), size});
      return static_cast<la_ssize_t>(size);
    } catch (...) {
      archive->failure_ = std::current_exception();
      return -1;
    }
  }

  void run(int result) {
    if (failure_) std::rethrow_exception(failure_);
    if (result == ARCHIVE_OK || result == ARCHIVE_WARN) return;
    const char* why = archive_error_string(writer_);
    throw Error(ErrorKind::kInternal, "writing an archive: {}", why == nullptr ? "unknown" : why);
  }

  std::unique_ptr<storage::S3Client::Upload> upload_;
  std::function<void()> check_;
  archive* writer_;
  std::exception_ptr failure_;
  bool abandoned_ = false;
  std::set<std::string> names_;
};

std::string Artifacts::base() const {
  std::string path = job_.output_path;
  while (path.ends_with('/')) path.pop_back();
  return path + "/" + job_.name + "/output";
}

void Artifacts::check() const {
  if (options_.cancelled && options_.cancelled()) {
    throw Error(ErrorKind::kUnavailable, "uploading artifacts: cancelled");
  }
}

// A folder below /opt/ml, by no link of the job's; nothing where the job removed it.
std::optional<FolderView> Artifacts::look(const std::string& folder) const {
  try {
    return FolderView(options_.ml, "/opt/ml").folder(folder);
  } catch (const Error& error) {
    throw cannot_upload(error.what());
  }
}

std::vector<FolderEntry> Artifacts::walk(const FolderView& view) const {
  try {
    return view.walk();
  } catch (const Error& error) {
    throw cannot_upload(error.what());
  }
}

bool Artifacts::is_empty(const std::string& folder) const {
  const std::optional<FolderView> view = look(folder);
  return !view || walk(*view).empty();
}

void Artifacts::add_folder(Archive& archive, const FolderView& view) {
  std::vector<char> piece(kPieceBytes);
  for (const FolderEntry& found : walk(view)) {
    const Entry entry(archive_entry_new());
    archive_entry_set_pathname(entry.get(), found.path.c_str());
    archive_entry_set_perm(entry.get(), found.mode & 0777);
    archive_entry_set_mtime(entry.get(), found.modified_ns / 1'000'000'000, found.modified_ns % 1'000'000'000);
    std::optional<Descriptor> file;
    switch (found.type) {
      case FolderEntry::Type::kFolder: archive_entry_set_filetype(entry.get(), AE_IFDIR); break;
      case FolderEntry::Type::kLink:
        if (!link_stays_inside(found.path, found.target)) {
          options_.on_note(fmt::format("{} is left out of the archive: it is a link that leaves its folder (to {})",
                                       shown(view, found.path), found.target));
          continue;
        }
        archive_entry_set_filetype(entry.get(), AE_IFLNK);
        archive_entry_set_symlink(entry.get(), found.target.c_str());
        break;
      case FolderEntry::Type::kOther:
        options_.on_note(
            fmt::format("{} is left out of the archive: it is neither file, folder nor link", shown(view, found.path)));
        continue;
      case FolderEntry::Type::kFile: try { file = view.open(found.path);
        } catch (const Error& error) {
          throw cannot_read(view, found.path, "it cannot be read");
        }
        if (!file) throw cannot_read(view, found.path, "it vanished");
        archive_entry_set_filetype(entry.get(), AE_IFREG);
        archive_entry_set_size(entry.get(), static_cast<la_int64_t>(found.size));
    }
    if (!archive.begin(entry.get()) || !file) continue;
    std::uint64_t left = found.size;
    while (left > 0) {
      const ssize_t got = ::read(file->get(), piece.data(), std::min<std::uint64_t>(piece.size(), left));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) throw cannot_read(view, found.path, std::strerror(errno));
      if (got == 0) throw cannot_read(view, found.path, "it shrank while it was read");
      archive.data(piece.data(), static_cast<std::size_t>(got));
      left -= static_cast<std::uint64_t>(got);
    }
  }
}

// An archive that another instance staged, by way of this one's disk.
void Artifacts::add_staged(Archive& archive, const std::string& uri) {
  files_.make_folders(options_.scratch, 0700);
  const std::string path = options_.scratch + "/staged.tar";
  client_.get_to_file(storage::S3Uri::parse(uri), path, [this](std::uint64_t) { check(); });
  const std::unique_ptr<struct archive, FreeRead> reader(archive_read_new());
  archive_read_support_format_tar(reader.get());
  const auto refuse = [&] {
    const char* why = archive_error_string(reader.get());
    throw Error(ErrorKind::kCorrupt, "merging {}: {}", uri, why == nullptr ? "unknown" : why);
  };
  if (archive_read_open_filename(reader.get(), path.c_str(), kPieceBytes) != ARCHIVE_OK) refuse();
  for (;;) {
    archive_entry* entry = nullptr;
    const int result = archive_read_next_header(reader.get(), &entry);
    if (result == ARCHIVE_EOF) break;
    if (result != ARCHIVE_OK && result != ARCHIVE_WARN) refuse();
    if (!archive.begin(entry)) continue;
    std::array<char, 64 << 10> piece;
    for (;;) {
      const la_ssize_t got = archive_read_data(reader.get(), piece.data(), piece.size());
      if (got < 0) refuse();
      if (got == 0) break;
      archive.data(piece.data(), static_cast<std::size_t>(got));
    }
  }
  files_.remove(path);
}

void Artifacts::upload_archive(const std::string& uri, bool compress, const std::string& folder,
                               const std::vector<std::string>& merge) {
  check();
  Archive archive(client_.start_upload(storage::S3Uri::parse(uri), compress ? "application/gzip" : "application/x-tar"),
                  compress, [this] { check(); });
  if (const std::optional<FolderView> view = look(folder)) add_folder(archive, *view);
  for (const std::string& staged : merge) add_staged(archive, staged);
  archive.finish();
}

void Artifacts::upload_files(const std::string& uri, const std::string& folder) {
  const std::optional<FolderView> there = look(folder);
  if (!there) return;
  const FolderView& view = *there;
  for (const FolderEntry& found : walk(view)) {
    check();
    if (found.type == FolderEntry::Type::kFolder) continue;
    std::optional<Descriptor> file;
    try {
      file = view.open(found.path, true);
    } catch (const Error&) {
      throw cannot_read(view, found.path, "it cannot be read");
    }
    if (!file) {
      options_.on_note(
          fmt::format("{} is not uploaded: it is no file, and no link to one in its folder", shown(view, found.path)));
      continue;
    }
    // By its descriptor: what was opened is what travels.
    client_.put_from_file(storage::S3Uri::parse(uri + "/" + found.path), fmt::format("/proc/self/fd/{}", file->get()),
                          [this](std::uint64_t) { check(); });
  }
}

std::string Artifacts::stage(std::uint32_t instance_index) {
  if (!job_.compress_output) {
    upload_files(base() + "/model", kModel);
    upload_files(base() + "/output", kOutput);
    return "";
  }
  const std::string staging = fmt::format("{}/.staging/{}", base(), Instance::host_name(instance_index));
  const bool model = !is_empty(kModel);
  const bool output = !is_empty(kOutput);
  if (!model && !output) return "";
  // What is not ours to stage must not be found: an earlier job of this name may have left it.
  const auto stage_one = [&](const std::string& uri, const std::string& folder, bool there) {
    if (there) return upload_archive(uri, false, folder, {});
    client_.remove(storage::S3Uri::parse(uri));
  };
  stage_one(staging + "/model.tar", kModel, model);
  stage_one(staging + "/output.tar", kOutput, output);
  return staging;
}

void Artifacts::publish(const std::vector<std::string>& staged) {
  if (!job_.compress_output) {
    stage(0);
    return;
  }
  std::vector<std::string> models;
  std::vector<std::string> outputs;
  for (const std::string& folder : staged) {
    const std::size_t before = models.size() + outputs.size();
    for (const auto& [name, list] : {std::pair{"/model.tar", &models}, std::pair{"/output.tar", &outputs}}) {
      if (client_.head(storage::S3Uri::parse(folder + name))) list->push_back(folder + name);
    }
    if (models.size() + outputs.size() == before) {
      throw Error(ErrorKind::kNotFound,
                  "what an instance staged below {} is gone; leave the job's output alone until the job has ended",
                  folder);
    }
  }
  const bool has_output = !outputs.empty() || !is_empty(kOutput);  // before anything is published: it may be unreadable
  upload_archive(base() + "/model.tar.gz", true, kModel, models);
  if (has_output) {
    upload_archive(base() + "/output.tar.gz", true, kOutput, outputs);
  }
  // Last: until the whole is there, the parts must stay. From here on nothing may fail: who repeated this would merge what
  // is left of them. A part that stays does no harm, see stage().
  for (const auto* list : {&models, &outputs}) {
    for (const std::string& uri : *list) {
      try {
        client_.remove(storage::S3Uri::parse(uri));
      } catch (const Error& error) {
        log::warning("node", "{} stays, merged as it is: {}", uri, error.what());
      }
    }
  }
}

}  // namespace athanor::node
