#include "platform/storage/s3_client.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <pugixml.hpp>
#include <thread>

#include "common/error.h"
#include "common/hash.h"
#include "common/random.h"
#include "platform/storage/checksum.h"
#include "platform/storage/parallel.h"
#include "platform/wire/header_text.h"
#include "platform/wire/http_client.h"

namespace athanor::storage {

namespace {

using Query = std::vector<std::pair<std::string, std::string>>;
constexpr ChecksumAlgorithm kChecksum = ChecksumAlgorithm::kCrc64Nvme;

std::string target_of(const std::string& bucket, const std::string& key, const Query& query) {
  std::string target = "/" + wire::percent_encode(bucket, false);
  if (!key.empty()) target += "/" + wire::percent_encode(key, true);
  char before = '?';
  for (const auto& [name, value] : query) {
    target += fmt::format("{}{}={}", before, wire::percent_encode(name, false), wire::percent_encode(value, false));
    before = '&';
  }
  return target;
}

ErrorKind kind_of(int status) {
  switch (status) {
    case 404:
      return ErrorKind::kNotFound;
    case 401:
    case 403:
      return ErrorKind::kDenied;
    case 409:
    case 412:
      return ErrorKind::kConflict;
    case 507:
      return ErrorKind::kExhausted;
    case 501:  // the store lacks what was asked of it, and will lack it the next time
    case 505:
      return ErrorKind::kInvalid;
    default:
      return status >= 500 || status == 429 ? ErrorKind::kUnavailable : ErrorKind::kInvalid;
  }
}

// The store's own words: <Error><Code/><Message/></Error>, in a 200 too.
std::string error_text(const wire::ClientResponse& response) {
  pugi::xml_document document;
  document.load_buffer(response.body.data(), response.body.size());
  const auto error = document.child("Error");
  if (!error) return fmt::format("HTTP status {}", response.status);
  return fmt::format("{}: {}", error.child_value("Code"), error.child_value("Message"));
}

// The size of an object, as a HEAD's answer tells it.
std::uint64_t size_of(const wire::ClientResponse& response, const S3Uri& what) {
  const std::string* length = response.headers.find("Content-Length");
  if (length == nullptr) return 0;
  std::uint64_t size = 0;
  const auto [end, failure] = std::from_chars(length->data(), length->data() + length->size(), size);
  if (failure != std::errc() || end != length->data() + length->size()) {
    throw Error(ErrorKind::kCorrupt, "HEAD {}: the store answers with the size '{}', which is no number", what.text(), *length);
  }
  return size;
}

pugi::xml_document parse_reply(const wire::ClientResponse& response, const std::string& what) {
  pugi::xml_document document;
  if (!document.load_buffer(response.body.data(), response.body.size())) {
    throw Error(ErrorKind::kCorrupt, "{}: the reply is not XML", what);
  }
  return document;
}

struct Part {
  std::string etag;
  std::string checksum;  // raw
  std::uint64_t size = 0;
};

struct Range {
  std::uint64_t offset = 0;
  std::uint64_t size = 0;
};

}  // namespace

struct S3Client::Core {
  Core(Options options_, CredentialsSource credentials_, const Clock& clock_, Files& files_)
      : options(std::move(options_)), credentials(std::move(credentials_)), clock(clock_), files(files_),
        http(options.endpoint, {.ca_file = options.ca_file, .idle_timeout_ms = options.idle_timeout_ms}) {}

  const Options options;
  const CredentialsSource credentials;
  const Clock& clock;
  Files& files;
  wire::HttpClient http;

  // One exchange, signed afresh.
  wire::ClientResponse exchange(const std::string& method, const std::string& target, const wire::Headers& extra,
                                const std::string& body, const std::function<void(std::string_view)>& sink) {
    wire::Headers headers = extra;
    headers.add("Host", http.endpoint().authority());
    const std::string hash = body.empty() ? std::string(wire::kEmptySha256) : to_hex(sha256(body));
    wire::sign_request(method, target, headers, credentials(), options.region, "s3", clock.wall_ms(), hash);
    wire::ClientRequest request{.method = method, .target = target};
    for (const auto& [name, value] : headers) {
      if (name != "Host") request.headers.add(name, value);
    }
    request.body = body;
    return http.send(request, sink);
  }

  // Until it succeeds, is refused for good, or was tried often enough. `restart` is called before each repetition.
  wire::ClientResponse request(const std::string& method, const S3Uri& what, const Query& query = {},
                               const wire::Headers& headers = {}, const std::string& body = {},
                               const std::function<void(std::string_view)>& sink = {},
                               const std::function<void()>& restart = {}) {
    const std::string target = target_of(what.bucket, what.key, query);
    const std::string doing = fmt::format("{} {} at {}", method, what.text(), options.endpoint);
    SystemRandom random;
    std::int64_t pause_ms = options.pause_first_ms;
    for (int tries = 1;; ++tries) {
      try {
        auto response = exchange(method, target, headers, body, sink);
        if (response.ok()) return response;
        if (kind_of(response.status) != ErrorKind::kUnavailable || tries >= options.tries_max) {
          throw Error(kind_of(response.status), "{}: {}", doing,
                      method == "HEAD" && response.status == 404 ? "no such bucket or key" : error_text(response));
        }
      } catch (const Error& error) {
        if (error.kind() != ErrorKind::kUnavailable || tries >= options.tries_max) throw;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(
          pause_ms / 2 + static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(pause_ms / 2 + 1)))));
      pause_ms = std::min<std::int64_t>(2 * pause_ms, 5000);
      if (restart) restart();
    }
  }

  Part put(const S3Uri& to, const Query& query, const std::string& bytes, const std::string& content_type) {
    Part part{.checksum = checksum_of(kChecksum, bytes), .size = bytes.size()};
    wire::Headers headers;
    headers.add(checksum_header(kChecksum), to_base64(part.checksum));
    if (!content_type.empty()) headers.add("Content-Type", content_type);
    part.etag = request("PUT", to, query, headers, bytes).headers.get_or("ETag", "");
    return part;
  }

  std::string begin_multipart(const S3Uri& to, const std::string& content_type) {
    wire::Headers headers;
    headers.add("x-amz-checksum-algorithm", to_string(kChecksum));
    headers.add("x-amz-checksum-type", to_string(ChecksumType::kFullObject));
    if (!content_type.empty()) headers.add("Content-Type", content_type);
    const auto reply = parse_reply(request("POST", to, {{"uploads", ""}}, headers), "beginning an upload to " + to.text());
    return reply.child("InitiateMultipartUploadResult").child_value("UploadId");
  }

  Part put_part(const S3Uri& to, const std::string& upload, std::size_t number, const std::string& bytes) {
    return put(to, {{"partNumber", std::to_string(number)}, {"uploadId", upload}}, bytes, {});
  }

  // Whether the object under this name has this checksum.
  bool holds(const S3Uri& what, const std::string& checksum) {
    wire::Headers mode;
    mode.add("x-amz-checksum-mode", "ENABLED");
    try {
      return request("HEAD", what, {}, mode).headers.get_or(checksum_header(kChecksum), "") == checksum;
    } catch (const Error& error) {
      if (error.kind() == ErrorKind::kNotFound) return false;
      throw;
    }
  }

  void complete(const S3Uri& to, const std::string& upload, const std::vector<Part>& parts) {
    pugi::xml_document document;
    auto root = document.append_child("CompleteMultipartUpload");
    std::vector<PartChecksum> checksums;
    for (std::size_t i = 0; i < parts.size(); ++i) {
      auto row = root.append_child("Part");
      row.append_child("PartNumber").text() = static_cast<unsigned>(i + 1);
      row.append_child("ETag").text() = parts[i].etag.c_str();
      row.append_child(checksum_element(kChecksum)).text() = to_base64(parts[i].checksum).c_str();
      checksums.push_back({parts[i].checksum, parts[i].size});
    }
    struct Writer final : pugi::xml_writer {
      std::string text;
      void write(const void* data, std::size_t size) override { text.append(static_cast<const char*>(data), size); }
    } writer;
    document.save(writer, "", pugi::format_raw);
    wire::Headers headers;
    headers.add("Content-Type", "application/xml");
    const std::string whole = combine_checksums(kChecksum, ChecksumType::kFullObject, checksums).text();
    headers.add(checksum_header(kChecksum), whole);
    headers.add("x-amz-checksum-type", to_string(ChecksumType::kFullObject));
    wire::ClientResponse response;
    try {
      response = request("POST", to, {{"uploadId", upload}}, headers, writer.text);
    } catch (const Error& error) {
      // Of a request that was repeated, the first may have been carried out and only its answer lost.
      if (error.kind() == ErrorKind::kNotFound && holds(to, whole)) return;
      throw;
    }
    if (response.body.find("<Error>") != std::string::npos) {  // a refusal can come after the status was sent
      throw Error(ErrorKind::kInvalid, "completing the upload to {}: {}", to.text(), error_text(response));
    }
  }

  void abort(const S3Uri& to, const std::string& upload) noexcept {
    try {
      request("DELETE", to, {{"uploadId", upload}});
    } catch (const std::exception&) {
      // Our store drops an upload that nobody goes on with, others need a lifecycle rule for it (docs/storage.md). What
      // made us give up is the error to tell.
    }
  }

  // `range` of one version of an object to its place in the file. Returns the bytes' checksum.
  std::string fetch(const S3Uri& from, const std::string& etag, const std::optional<Range>& range, const std::string& path,
                    const std::function<void(std::uint64_t)>& progress) {
    const auto file = files.open(path, Files::Open::kCreate, 0644);
    const std::uint64_t offset = range ? range->offset : 0;
    std::uint64_t done = 0;
    ChecksumHasher hasher(kChecksum);
    wire::Headers headers;
    headers.add("If-Match", etag);
    if (range) headers.add("Range", fmt::format("bytes={}-{}", offset, offset + range->size - 1));
    const auto take = [&](std::string_view bytes) {
      file->write_at(offset + done, bytes);
      hasher.update(bytes);
      done += bytes.size();
      if (progress) progress(bytes.size());
    };
    const auto restart = [&] {
      done = 0;
      hasher = ChecksumHasher(kChecksum);
    };
    request("GET", from, {}, headers, {}, take, restart);
    if (range && done != range->size) {
      throw Error(ErrorKind::kCorrupt, "reading {}: {} bytes came of {}", from.text(), done, range->size);
    }
    return hasher.finish();
  }
};

S3Client::S3Client(Options options, CredentialsSource credentials, const Clock& clock, Files& files)
    : core_(std::make_unique<Core>(std::move(options), std::move(credentials), clock, files)) {}

S3Client::~S3Client() = default;

void S3Client::list(const std::string& bucket, const std::string& prefix, const std::function<bool(const S3Object&)>& take) {
  std::string token;
  do {
    Query query{{"encoding-type", "url"}, {"list-type", "2"}, {"prefix", prefix}};
    if (!token.empty()) query.insert(query.begin(), {"continuation-token", token});
    const auto document = parse_reply(core_->request("GET", {bucket, ""}, query), "listing s3://" + bucket + "/" + prefix);
    const auto result = document.child("ListBucketResult");
    for (const auto row : result.children("Contents")) {
      S3Object object{wire::percent_decode(row.child_value("Key")), row.child("Size").text().as_ullong(), row.child_value("ETag")};
      if (!take(object)) return;
    }
    token = result.child("IsTruncated").text().as_bool() ? result.child_value("NextContinuationToken") : "";
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
    if (bytes.size() + piece.size() > bytes_max) throw Error(ErrorKind::kExhausted, "{} is larger than {} bytes", from.text(), bytes_max);
    bytes += piece;
  };
  core_->request("GET", from, {}, {}, {}, take, [&] { bytes.clear(); });
  return bytes;
}

void S3Client::get_to_file(const S3Uri& from, const std::string& path, const std::function<void(std::uint64_t)>& progress) {
  wire::Headers mode;
  mode.add("x-amz-checksum-mode", "ENABLED");
  const auto head = core_->request("HEAD", from, {}, mode);
  const std::uint64_t size = size_of(head, from);
  const std::string etag = head.headers.get_or("ETag", "");
  const std::string partial = path + ".part";
  try {
    core_->files.open(partial, Files::Open::kTruncate, 0644);
    const std::uint64_t part = core_->options.part_bytes;
    std::vector<PartChecksum> checksums(std::max<std::uint64_t>((size + part - 1) / part, 1));
    if (checksums.size() == 1) {
      checksums[0] = {core_->fetch(from, etag, std::nullopt, partial, progress), size};
    } else {
      for_each_in_parallel(checksums.size(), static_cast<std::size_t>(core_->options.parts_at_once), [&](std::size_t i) {
        const Range range{i * part, std::min(part, size - i * part)};
        checksums[i] = {core_->fetch(from, etag, range, partial, progress), range.size};
      });
    }
    const std::string expected = head.headers.get_or(checksum_header(kChecksum), "");
    const auto computed = combine_checksums(kChecksum, ChecksumType::kFullObject, checksums);
    if (core_->files.stat(partial)->size != size || (!expected.empty() && expected != computed.text())) {
      throw Error(ErrorKind::kCorrupt, "reading {}: what came is not what the store keeps (its checksum is {}, ours {})",
                  from.text(), expected, computed.text());
    }
    core_->files.rename(partial, path);
  } catch (...) {
    core_->files.remove(partial);
    throw;
  }
}

void S3Client::put(const S3Uri& to, std::string_view bytes, const std::string& content_type) {
  core_->put(to, {}, std::string(bytes), content_type);
}

void S3Client::put_from_file(const S3Uri& to, const std::string& path, const std::function<void(std::uint64_t)>& progress) {
  const auto before = core_->files.stat(path);
  if (!before) throw Error(ErrorKind::kNotFound, "uploading {}: there is no such file", path);
  // stat() does not follow links; what a link leads to is known by its size alone.
  const bool is_link = before->type == FileInfo::Type::kLink;
  const auto size_now = [&] { return core_->files.open(path, Files::Open::kRead, 0)->size(); };
  const auto read = [&](Range range) {
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
      std::vector<Part> parts((size + part - 1) / part);
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
  std::vector<Part> parts_;
  bool finished_ = false;
};

}  // namespace

std::unique_ptr<S3Client::Upload> S3Client::start_upload(const S3Uri& to, const std::string& content_type) {
  return std::make_unique<StreamedUpload>(*core_, to, content_type);
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

std::size_t S3Client::put_folder(const std::string& folder, const S3Uri& prefix, const std::function<void(std::uint64_t)>& progress) {
  std::vector<std::string> paths;
  collect(core_->files, folder, "", paths);
  for_each_in_parallel(paths.size(), 8, [&](std::size_t i) { put_from_file(prefix.below(paths[i]), folder + "/" + paths[i], progress); });
  return paths.size();
}

}  // namespace athanor::storage
