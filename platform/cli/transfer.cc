#include "platform/cli/transfer.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <mutex>

#include "common/descriptor.h"
#include "common/error.h"
#include "common/relative_path.h"

namespace athanor::cli {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kPieceBytes = 256 << 10;

// "3.2 MB of 5.0 MB   12.0 MB/s", redrawn at most ten times a second. Any thread may add.
class Meter {
 public:
  Meter(const Terminal& aside, const std::string& what, std::uint64_t total)
      : aside_(aside), what_(aside.foreign(what)), total_(total), block_(aside) {}
  ~Meter() { block_.erase(); }

  void add(std::uint64_t bytes) {
    const std::uint64_t so_far = done_ += bytes;
    if (!aside_.is_terminal()) return;
    const std::lock_guard lock(mutex_);
    const auto now = std::chrono::steady_clock::now();
    if (now < next_) return;
    next_ = now + std::chrono::milliseconds(100);
    const double seconds = std::chrono::duration<double>(now - start_).count();
    const double fraction = total_ == 0 ? 1 : static_cast<double>(so_far) / static_cast<double>(total_);
    block_.draw({fmt::format("{}  {}  {} of {}  {}/s", what_, format_bar(aside_, fraction, 24), format_bytes(so_far),
                             format_bytes(total_),
                             format_bytes(
                                 static_cast<std::uint64_t>(static_cast<double>(so_far) / std::max(seconds, 0.001))))});
  }
  std::uint64_t done() const { return done_; }

 private:
  const Terminal& aside_;
  const std::string what_;
  const std::uint64_t total_;
  std::atomic<std::uint64_t> done_ = 0;
  const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  std::mutex mutex_;  // guards what is below
  LiveBlock block_;
  std::chrono::steady_clock::time_point next_;
};

std::uint64_t bytes_below(const fs::path& folder) {
  std::uint64_t sum = 0;
  for (const fs::directory_entry& entry :
       fs::recursive_directory_iterator(folder, fs::directory_options::skip_permission_denied)) {
    std::error_code gone;
    if (entry.is_regular_file(gone)) sum += entry.file_size(gone);
  }
  return sum;
}

std::string shortened(const std::string& text) {
  return text.size() <= 40 ? text : "…" + text.substr(text.size() - 39);
}

// The key relative to the prefix, as a path that stays below the folder.
std::string safe_relative(const std::string& key, const std::string& relative) {
  if (is_relative_path(relative)) return relative;
  throw Error(ErrorKind::kInvalid,
              "Downloading the object '{}': its key cannot be a path. Download it by itself to a file name.", key);
}

// Where a chain of links leads, whether or not anything is there.
fs::path behind_links(fs::path path) {
  static constexpr int kLinksMax = 40;  // as the kernel has it
  for (int links = 0; fs::is_symlink(fs::symlink_status(path)); ++links) {
    if (links == kLinksMax) {
      throw Error(ErrorKind::kInvalid, "Writing {}: too many links lead on from it.", path.string());
    }
    path = path.parent_path() / fs::read_symlink(path);
  }
  return path;
}

void bring(storage::S3Client& s3, const storage::S3Uri& from, const fs::path& target, Meter& meter) {
  if (target.has_parent_path()) fs::create_directories(target.parent_path());
  const fs::file_status there = fs::status(target);
  if (fs::is_directory(there)) {
    throw Error(ErrorKind::kConflict, "Writing {}: there is a folder of that name.", target.string());
  }
  if (!fs::exists(there) || fs::is_regular_file(there)) {
    return s3.get_to_file(from, behind_links(target).string(), [&](std::uint64_t bytes) { meter.add(bytes); });
  }
  const Descriptor opened(::open(target.c_str(), O_WRONLY | O_CLOEXEC));
  if (!opened) throw system_error(errno, "Opening " + target.string());
  meter.add(download_stream(s3, from, opened.get(), target.string()).bytes);
}

}  // namespace

Transferred upload_stream(storage::S3Client& s3, int descriptor, const std::string& name, const storage::S3Uri& to) {
  const auto upload = s3.start_upload(to);
  std::vector<char> piece(kPieceBytes);
  Transferred result{1, 0};
  for (;;) {
    const ssize_t got = ::read(descriptor, piece.data(), piece.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw system_error(errno, "Reading " + name);
    if (got == 0) break;
    upload->write({piece.data(), static_cast<std::size_t>(got)});
    result.bytes += static_cast<std::uint64_t>(got);
  }
  upload->finish();
  return result;
}

Transferred download_stream(storage::S3Client& s3, const storage::S3Uri& from, int descriptor,
                            const std::string& name) {
  Transferred result{1, 0};
  s3.get_streamed(from, [&](std::string_view bytes) {
    result.bytes += bytes.size();
    while (!bytes.empty()) {
      const ssize_t put = ::write(descriptor, bytes.data(), bytes.size());
      if (put < 0 && errno == EINTR) continue;
      // Whatever the reason is (a reader that has gone, a full disk), it is not the store's, and asking it again is no use.
      if (put < 0) throw Error(ErrorKind::kInternal, "Writing {}: {}", name, std::strerror(errno));
      bytes.remove_prefix(static_cast<std::size_t>(put));
    }
  });
  return result;
}

Transferred upload(storage::S3Client& s3, const std::string& path, const storage::S3Uri& to, const Terminal& aside) {
  std::error_code failure;
  const fs::file_status status = fs::status(path, failure);
  if (!fs::exists(status)) throw Error(ErrorKind::kNotFound, "Uploading {}: there is no such file or folder.", path);
  if (fs::is_directory(status)) {
    Meter meter(aside, "uploading " + shortened(path), bytes_below(path));
    const std::size_t objects = s3.put_folder(path, to, [&](std::uint64_t bytes) { meter.add(bytes); });
    return {objects, meter.done()};
  }
  storage::S3Uri target = to;
  if (target.key.empty() || target.key.ends_with('/')) target.key += fs::path(path).filename().string();
  if (!fs::is_regular_file(status)) {
    const Descriptor opened(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!opened) throw system_error(errno, "Opening " + path);
    return upload_stream(s3, opened.get(), path, target);
  }
  Meter meter(aside, "uploading " + shortened(path), fs::file_size(path, failure));
  s3.put_from_file(target, path, [&](std::uint64_t bytes) { meter.add(bytes); });
  return {1, meter.done()};
}

Transferred download(storage::S3Client& s3, const storage::S3Uri& from, const std::string& path,
                     const Terminal& aside) {
  const bool is_folder = fs::is_directory(path) || path.ends_with('/');
  if (!from.key.empty() && !from.key.ends_with('/')) {
    if (const auto head = s3.head(from)) {
      const std::string name = from.key.substr(from.key.rfind('/') + 1);
      const fs::path target = is_folder ? fs::path(path) / safe_relative(from.key, name) : fs::path(path);
      Meter meter(aside, "downloading " + shortened(name), head->size);
      bring(s3, from, target, meter);
      return {1, head->size};
    }
  }
  storage::S3Uri prefix = from;
  if (!prefix.key.empty() && !prefix.key.ends_with('/')) prefix.key += '/';
  std::vector<storage::S3Object> objects = s3.list(prefix.bucket, prefix.key);
  std::erase_if(objects,
                [](const storage::S3Object& object) { return object.key.ends_with('/'); });  // markers of folders
  if (objects.empty()) {
    throw Error(ErrorKind::kNotFound, "Downloading {}: there is no such object, and none below it.", from.text());
  }
  Transferred result;
  for (const storage::S3Object& object : objects) result.bytes += object.size;
  Meter meter(aside, "downloading " + shortened(from.text()), result.bytes);
  for (const storage::S3Object& object : objects) {
    const fs::path target = fs::path(path) / safe_relative(object.key, object.key.substr(prefix.key.size()));
    bring(s3, {prefix.bucket, object.key}, target, meter);
    ++result.objects;
  }
  return result;
}

}  // namespace athanor::cli
