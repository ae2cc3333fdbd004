#include "platform/storage/s3_client_core.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <thread>

#include "common/error.h"
#include "common/hash.h"
#include "common/random.h"
#include "platform/storage/tame_xml.h"

namespace athanor::storage {

namespace {

ErrorKind kind_of(int status) {
  switch (status) {
    case 404: return ErrorKind::kNotFound;
    case 401:
    case 403: return ErrorKind::kDenied;
    case 409:
    case 412: return ErrorKind::kConflict;
    case 507: return ErrorKind::kExhausted;
    case 501:  // the store lacks what was asked of it, and will lack it the next time
    case 505: return ErrorKind::kInvalid;
    default: return status >= 500 || status == 429 ? ErrorKind::kUnavailable : ErrorKind::kInvalid;
  }
}

// False when it is no XML or none that a store would send. As UTF-8 whatever the text says, so that what was judged tame
// is what is read.
bool load(pugi::xml_document& document, std::string_view xml) {
  return is_tame_xml(xml) && document.load_buffer(xml.data(), xml.size(), pugi::parse_default, pugi::encoding_utf8);
}

}  // namespace

std::string target_of(const std::string& bucket, const std::string& key, const S3Client::Core::Query& query) {
  std::string target = "/" + wire::percent_encode(bucket, false);
  if (!key.empty()) target += "/" + wire::percent_encode(key, true);
  char before = '?';
  for (const auto& [name, value] : query) {
    target += fmt::format("{}{}={}", before, wire::percent_encode(name, false), wire::percent_encode(value, false));
    before = '&';
  }
  return target;
}

std::string error_text(const wire::ClientResponse& response) {
  pugi::xml_document document;
  load(document, response.body);
  const auto error = document.child("Error");
  if (!error) return fmt::format("HTTP status {}", response.status);
  return fmt::format("{}: {}", error.child_value("Code"), error.child_value("Message"));
}

std::uint64_t size_of(const wire::ClientResponse& response, const S3Uri& what) {
  const std::string* length = response.headers.find("Content-Length");
  if (length == nullptr) return 0;
  std::uint64_t size = 0;
  const auto [end, failure] = std::from_chars(length->data(), length->data() + length->size(), size);
  if (failure != std::errc() || end != length->data() + length->size()) {
    throw Error(ErrorKind::kCorrupt, "HEAD {}: the store answers with the size '{}', which is no number", what.text(),
                *length);
  }
  return size;
}

pugi::xml_document parse_reply(const wire::ClientResponse& response, const std::string& what) {
  pugi::xml_document document;
  if (!load(document, response.body)) {
    throw Error(ErrorKind::kCorrupt, "{}: the reply is not XML, or not of S3's kind", what);
  }
  return document;
}

ListedPage read_listing(const wire::ClientResponse& response, const std::string& what) {
  const auto document = parse_reply(response, what);
  const auto result = document.child("ListBucketResult");
  ListedPage page;
  for (const auto row : result.children("Contents")) {
    page.objects.push_back(
        {wire::percent_decode(row.child_value("Key")), row.child("Size").text().as_ullong(), row.child_value("ETag")});
  }
  if (result.child("IsTruncated").text().as_bool()) page.token = result.child_value("NextContinuationToken");
  return page;
}

std::string read_upload_id(const wire::ClientResponse& response, const std::string& what) {
  return parse_reply(response, what).child("InitiateMultipartUploadResult").child_value("UploadId");
}

wire::ClientResponse S3Client::Core::exchange(const std::string& method, const std::string& target,
                                              const wire::Headers& extra, const std::string& body,
                                              const std::function<void(std::string_view)>& sink) {
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

wire::ClientResponse S3Client::Core::request(const std::string& method, const S3Uri& what, const Query& query,
                                             const wire::Headers& headers, const std::string& body,
                                             const std::function<void(std::string_view)>& sink,
                                             const std::function<void()>& restart) {
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

S3Client::Core::Part S3Client::Core::put(const S3Uri& to, const Query& query, const std::string& bytes,
                                         const std::string& content_type) {
  Part part{.checksum = checksum_of(kChecksum, bytes), .size = bytes.size()};
  wire::Headers headers;
  headers.add(checksum_header(kChecksum), to_base64(part.checksum));
  if (!content_type.empty()) headers.add("Content-Type", content_type);
  part.etag = request("PUT", to, query, headers, bytes).headers.get_or("ETag", "");
  return part;
}

std::string S3Client::Core::begin_multipart(const S3Uri& to, const std::string& content_type) {
  wire::Headers headers;
  headers.add("x-amz-checksum-algorithm", to_string(kChecksum));
  headers.add("x-amz-checksum-type", to_string(ChecksumType::kFullObject));
  if (!content_type.empty()) headers.add("Content-Type", content_type);
  return read_upload_id(request("POST", to, {{"uploads", ""}}, headers), "beginning an upload to " + to.text());
}

S3Client::Core::Part S3Client::Core::put_part(const S3Uri& to, const std::string& upload, std::size_t number,
                                              const std::string& bytes) {
  return put(to, {{"partNumber", std::to_string(number)}, {"uploadId", upload}}, bytes, {});
}

bool S3Client::Core::holds(const S3Uri& what, const std::string& checksum) {
  wire::Headers mode;
  mode.add("x-amz-checksum-mode", "ENABLED");
  try {
    return request("HEAD", what, {}, mode).headers.get_or(checksum_header(kChecksum), "") == checksum;
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::kNotFound) return false;
    throw;
  }
}

void S3Client::Core::complete(const S3Uri& to, const std::string& upload, const std::vector<Part>& parts) {
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

void S3Client::Core::abort(const S3Uri& to, const std::string& upload) noexcept {
  try {
    request("DELETE", to, {{"uploadId", upload}});
  } catch (const std::exception&) {
    // Our store drops an upload that nobody goes on with, others need a lifecycle rule for it (docs/storage.md). What
    // made us give up is the error to tell.
  }
}

S3Client::Core::Version S3Client::Core::look(const S3Uri& what) {
  wire::Headers mode;
  mode.add("x-amz-checksum-mode", "ENABLED");
  const auto head = request("HEAD", what, {}, mode);
  return {size_of(head, what), head.headers.get_or("ETag", ""), head.headers.get_or(checksum_header(kChecksum), "")};
}

std::vector<S3Client::Core::Range> S3Client::Core::ranges_of(const Version& version) const {
  std::vector<Range> ranges;
  std::uint64_t offset = 0;
  do {
    ranges.push_back({offset, std::min(options.part_bytes, version.size - offset)});
    offset += ranges.back().size;
  } while (offset < version.size);
  return ranges;
}

PartChecksum S3Client::Core::fetch(const S3Uri& from, const Version& version, Range range, const Take& take) {
  std::uint64_t done = 0;
  ChecksumHasher hasher(kChecksum);
  wire::Headers headers;
  headers.add("If-Match", version.etag);
  if (range.size < version.size) {
    headers.add("Range", fmt::format("bytes={}-{}", range.offset, range.offset + range.size - 1));
  }
  const auto sink = [&](std::string_view bytes) {
    take(range.offset + done, bytes);
    hasher.update(bytes);
    done += bytes.size();
  };
  const auto restart = [&] {
    done = 0;
    hasher = ChecksumHasher(kChecksum);
  };
  request("GET", from, {}, headers, {}, sink, restart);
  if (done != range.size) {
    throw Error(ErrorKind::kCorrupt, "reading {}: {} bytes came of {}", from.text(), done, range.size);
  }
  return {hasher.finish(), done};
}

void S3Client::Core::check_whole(const S3Uri& from, const Version& version, const std::vector<PartChecksum>& came) {
  const auto computed = combine_checksums(kChecksum, ChecksumType::kFullObject, came);
  if (!version.checksum.empty() && version.checksum != computed.text()) {
    throw Error(ErrorKind::kCorrupt, "reading {}: what came is not what the store keeps (its checksum is {}, ours {})",
                from.text(), version.checksum, computed.text());
  }
}

}  // namespace athanor::storage
