#include "platform/storage/s3_client.h"

#include <algorithm>

#include "common/error.h"
#include "common/random.h"
#include "platform/storage/parallel.h"
#include "platform/storage/s3_client_core.h"
#include "platform/wire/header_text.h"

namespace athanor::storage {

S3Client::S3Client(Options options, CredentialsSource credentials, const Clock& clock, Files& files)
    : core_(std::make_unique<Core>(std::move(options), std::move(credentials), clock, files)) {}

S3Client::~S3Client() = default;

void S3Client::list(const std::string& bucket, const std::string& prefix,
                    const std::function<bool(const S3Object&)>& take) {
  std::string token;
  do {
    Core::Query query{{"encoding-type", "url"}, {"list-type", "2"}, {"prefix", prefix}};
    if (!token.empty()) query.insert(query.begin(), {"continuation-token", token});
    ListedPage page = read_listing(core_->request("GET", {bucket, ""}, query), "listing s3://" + bucket + "/" + prefix);
    for (const S3Object& object : page.objects) {
      if (!take(object)) return;
    }
    token = std::move(page.token);
  } while (!token.empty());
}

std::vector<S3Object> S3Client::list(const std::string& bucket, const std::string& prefix) {
  std::vector<S3Object> objects;
  list(bucket, prefix, [&](const S3Object& object) {
    objects.push_back(object);
    return true;
  });
  return objects;
}

std::optional<S3Head> S3Client::head(const S3Uri& from) {
  wire::ClientResponse response;
  try {
    response = core_->request("HEAD", from);
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::kNotFound) return std::nullopt;
    throw;
  }
  S3Head head;
  head.size = size_of(response, from);
  head.etag = response.headers.get_or("ETag", "");
  head.content_type = response.headers.get_or("Content-Type", "");
  static constexpr std::string_view kMetadata = "x-amz-meta-";
  for (const auto& [name, value] : response.headers) {
    const std::string lower = wire::lower_case(name);
    if (lower.starts_with(kMetadata)) head.metadata[lower.substr(kMetadata.size())] = value;
  }
  return head;
}

std::string S3Client::get(const S3Uri& from, std::size_t bytes_max) {
  std::string bytes;
  const auto take = [&](std::string_view piece) {
    if (bytes.size() + piece.size() > bytes_max) {
      throw Error(ErrorKind::kExhausted, "{} is larger than {} bytes", from.text(), bytes_max);
    }
    bytes += piece;
  };
  core_->request("GET", from, {}, {}, {}, take, [&] { bytes.clear(); });
  return bytes;
}

void S3Client::get_to_file(const S3Uri& from, const std::string& path,
                           const std::function<void(std::uint64_t)>& progress) {
  const Core::Version version = core_->look(from);
  const auto ranges = core_->ranges_of(version);
  // On the same disk, so beside the file; and not named after it: such a name may be another object's, or too long.
  const std::string partial = path.substr(0, path.rfind('/') + 1) + "athanor-" + SystemRandom().hex(16) + ".part";
  core_->files.open(partial, Files::Open::kCreateNew, 0644);
  try {
    std::vector<PartChecksum> came(ranges.size());
    for_each_in_parallel(ranges.size(), static_cast<std::size_t>(core_->options.parts_at_once), [&](std::size_t i) {
      const auto file = core_->files.open(partial, Files::Open::kCreate, 0644);
      came[i] = core_->fetch(from, version, ranges[i], [&](std::uint64_t offset, std::string_view bytes) {
        file->write_at(offset, bytes);
        if (progress) progress(bytes.size());
      });
    });
    if (const std::uint64_t size = core_->files.stat(partial)->size; size != version.size) {
      throw Error(ErrorKind::kCorrupt, "reading {}: {} bytes came of {}", from.text(), size, version.size);
    }
    Core::check_whole(from, version, came);
    core_->files.rename(partial, path);
  } catch (...) {
    core_->files.remove(partial);
    throw;
  }
}

void S3Client::get_streamed(const S3Uri& from, const std::function<void(std::string_view)>& take) {
  const Core::Version version = core_->look(from);
  std::uint64_t passed = 0;
  std::vector<PartChecksum> came;
  for (const Core::Range range : core_->ranges_of(version)) {
    came.push_back(core_->fetch(from, version, range, [&](std::uint64_t offset, std::string_view bytes) {
      // Of a request that is repeated, the first bytes have passed already.
      bytes.remove_prefix(std::min<std::uint64_t>(passed - offset, bytes.size()));
      if (bytes.empty()) return;
      passed += bytes.size();
      take(bytes);
    }));
  }
  Core::check_whole(from, version, came);
}

void S3Client::remove(const S3Uri& what) { core_->request("DELETE", what); }

void S3Client::copy(const S3Uri& from, const S3Uri& to) {
  wire::Headers headers;
  headers.add("x-amz-copy-source", target_of(from.bucket, from.key, {}));
  const auto response = core_->request("PUT", to, {}, headers);
  if (response.body.find("<Error>") != std::string::npos) {
    throw Error(ErrorKind::kInvalid, "copying {} to {}: {}", from.text(), to.text(), error_text(response));
  }
}

void S3Client::create_bucket(const std::string& bucket) { core_->request("PUT", {bucket, ""}); }

}  // namespace athanor::storage
