// The way up: bytes, files, folders, and bodies of unknown length.
#include <algorithm>

#include "common/error.h"
#include "platform/storage/parallel.h"
#include "platform/storage/s3_client_core.h"

namespace athanor::storage {

void S3Client::put(const S3Uri& to, std::string_view bytes, const std::string& content_type) {
  core_->put(to, {}, std::string(bytes), content_type);
}

void S3Client::put_from_file(const S3Uri& to, const std::string& path,
                             const std::function<void(std::uint64_t)>& progress) {
  const auto before = core_->files.stat(path);
  if (!before) throw Error(ErrorKind::kNotFound, "uploading {}: there is no such file", path);
  // stat() does not follow links; what a link leads to is known by its size alone.
  const bool is_link = before->type == FileInfo::Type::kLink;
  const auto size_now = [&] { return core_->files.open(path, Files::Open::kRead, 0)->size(); };
  const auto read = [&](Core::Range range) {
    const auto file = core_->files.open(path, Files::Open::kRead, 0);
    std::string bytes(range.size, '\0');
    std::size_t done = 0;
    while (done < bytes.size()) {
      const std::size_t got = file->read_at(range.offset + done, std::span(bytes).subspan(done));
      if (got == 0) throw Error(ErrorKind::kConflict, "uploading {}: the file became shorter meanwhile", path);
      done += got;
    }
    return bytes;
  };
  // Parts no smaller than asked for, and never more than S3's 10,000.
  const std::uint64_t size = is_link ? size_now() : before->size;
  const std::uint64_t part = std::max<std::uint64_t>(core_->options.part_bytes, (size + 9'999) / 10'000);
  if (size <= part) {
    core_->put(to, {}, read({0, size}), {});
    if (progress) progress(size);
  } else {
    const std::string upload = core_->begin_multipart(to, {});
    try {
      std::vector<Core::Part> parts((size + part - 1) / part);
      for_each_in_parallel(parts.size(), static_cast<std::size_t>(core_->options.parts_at_once), [&](std::size_t i) {
        const std::string bytes = read({i * part, std::min(part, size - i * part)});
        parts[i] = core_->put_part(to, upload, i + 1, bytes);
        if (progress) progress(bytes.size());
      });
      const auto after = core_->files.stat(path);
      if (!after || (is_link ? size_now() != size : after->size != size || after->modified_ns != before->modified_ns)) {
        throw Error(ErrorKind::kConflict, "uploading {}: the file changed meanwhile", path);
      }
      core_->complete(to, upload, parts);
    } catch (...) {
      core_->abort(to, upload);
      throw;
    }
  }
}

namespace {

class StreamedUpload final : public S3Client::Upload {
 public:
  StreamedUpload(S3Client::Core& core, S3Uri to, std::string content_type)
      : core_(core), to_(std::move(to)), content_type_(std::move(content_type)) {}
  ~StreamedUpload() override {
    if (!upload_.empty() && !finished_) core_.abort(to_, upload_);
  }

  void write(std::string_view bytes) override {
    while (!bytes.empty()) {
      const std::size_t taken = std::min<std::size_t>(bytes.size(), core_.options.part_bytes - buffer_.size());
      buffer_ += bytes.substr(0, taken);
      bytes.remove_prefix(taken);
      if (buffer_.size() == core_.options.part_bytes) send_part();
    }
  }

  void finish() override {
    if (upload_.empty()) {
      core_.put(to_, {}, buffer_, content_type_);
    } else {
      if (!buffer_.empty()) send_part();
      core_.complete(to_, upload_, parts_);
    }
    finished_ = true;
  }

 private:
  void send_part() {
    if (upload_.empty()) upload_ = core_.begin_multipart(to_, content_type_);
    parts_.push_back(core_.put_part(to_, upload_, parts_.size() + 1, buffer_));
    buffer_.clear();
  }

  S3Client::Core& core_;
  const S3Uri to_;
  const std::string content_type_;
  std::string buffer_;
  std::string upload_;  // its id, once there is one
  std::vector<S3Client::Core::Part> parts_;
  bool finished_ = false;
};

}  // namespace

std::unique_ptr<S3Client::Upload> S3Client::start_upload(const S3Uri& to, const std::string& content_type) {
  return std::make_unique<StreamedUpload>(*core_, to, content_type);
}

namespace {

void collect(Files& files, const std::string& folder, const std::string& below, std::vector<std::string>& found) {
  for (const auto& name : files.list(folder + (below.empty() ? "" : "/" + below))) {
    const std::string path = below.empty() ? name : below + "/" + name;
    const auto info = files.stat(folder + "/" + path);
    if (!info) continue;  // gone meanwhile
    if (info->type == FileInfo::Type::kFolder) {
      collect(files, folder, path, found);
    } else if (info->type == FileInfo::Type::kFile || info->type == FileInfo::Type::kLink) {
      found.push_back(path);
    } else {
      throw Error(ErrorKind::kInvalid, "uploading {}/{}: it is neither a file nor a folder", folder, path);
    }
  }
}

}  // namespace

std::size_t S3Client::put_folder(const std::string& folder, const S3Uri& prefix,
                                 const std::function<void(std::uint64_t)>& progress) {
  std::vector<std::string> paths;
  collect(core_->files, folder, "", paths);
  for_each_in_parallel(paths.size(), 8, [&](std::size_t i) {
    put_from_file(prefix.below(paths[i]), folder + "/" + paths[i], progress);
  });
  return paths.size();
}

}  // namespace athanor::storage
