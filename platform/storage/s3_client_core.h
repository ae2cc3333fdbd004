// What the S3Client's calls are made of: requests that are signed, repeated and checked; the steps of a multipart upload; a
// range of an object on its way to a file. Any thread.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <pugixml.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "platform/storage/checksum.h"
#include "platform/storage/s3_client.h"
#include "platform/wire/http_client.h"

namespace athanor::storage {

struct S3Client::Core {
  using Query = std::vector<std::pair<std::string, std::string>>;
  // What we send and check.
  static constexpr ChecksumAlgorithm kChecksum = ChecksumAlgorithm::kCrc64Nvme;

  struct Part {
    std::string etag;
    std::string checksum;  // raw
    std::uint64_t size = 0;
  };
  struct Range {
    std::uint64_t offset = 0;
    std::uint64_t size = 0;
  };

  Core(Options options_, CredentialsSource credentials_, const Clock& clock_, Files& files_)
      : options(std::move(options_)),
        credentials(std::move(credentials_)),
        clock(clock_),
        files(files_),
        http(options.endpoint,
             {.ca_file = options.ca_file, .idle_timeout_ms = options.idle_timeout_ms, .where = options.where}) {}

  // One exchange, signed afresh.
  wire::ClientResponse exchange(const std::string& method, const std::string& target, const wire::Headers& extra,
                                const std::string& body, const std::function<void(std::string_view)>& sink);
  // Until it succeeds, is refused for good, or was tried often enough. `restart` is called before each repetition.
  wire::ClientResponse request(const std::string& method, const S3Uri& what, const Query& query = {},
                               const wire::Headers& headers = {}, const std::string& body = {},
                               const std::function<void(std::string_view)>& sink = {},
                               const std::function<void()>& restart = {});

  Part put(const S3Uri& to, const Query& query, const std::string& bytes, const std::string& content_type);

  // Returns the upload's id.
  std::string begin_multipart(const S3Uri& to, const std::string& content_type);
  Part put_part(const S3Uri& to, const std::string& upload, std::size_t number, const std::string& bytes);
  void complete(const S3Uri& to, const std::string& upload, const std::vector<Part>& parts);
  void abort(const S3Uri& to, const std::string& upload) noexcept;
  // Whether the object under this name has this checksum.
  bool holds(const S3Uri& what, const std::string& checksum);

  // What is known of an object before its bytes come.
  struct Version {
    std::uint64_t size = 0;
    std::string etag;
    std::string checksum;  // as text; empty where the store keeps none of our kind
  };
  Version look(const S3Uri& what);
  // The ranges that a version comes in; one, of nothing, when it is empty.
  std::vector<Range> ranges_of(const Version& version) const;
  // `range` of a version to `take`, with each piece's offset in the object; from the range's start again when a request is
  // repeated. Returns the bytes' checksum.
  using Take = std::function<void(std::uint64_t offset, std::string_view bytes)>;
  PartChecksum fetch(const S3Uri& from, const Version& version, Range range, const Take& take);
  // Throws kCorrupt when the ranges that came are not what the store keeps.
  static void check_whole(const S3Uri& from, const Version& version, const std::vector<PartChecksum>& came);

  const Options options;
  const CredentialsSource credentials;
  const Clock& clock;
  Files& files;
  wire::HttpClient http;
};

// "/bucket/key?query", encoded.
std::string target_of(const std::string& bucket, const std::string& key, const S3Client::Core::Query& query);
// The size of an object, as a HEAD's answer tells it. Throws kCorrupt.
std::uint64_t size_of(const wire::ClientResponse& response, const S3Uri& what);
// The store's own words: <Error><Code/><Message/></Error>, in a 200 too.
std::string error_text(const wire::ClientResponse& response);
// Throws kCorrupt; `what` was being done.
pugi::xml_document parse_reply(const wire::ClientResponse& response, const std::string& what);
// Both likewise.
struct ListedPage {
  std::vector<S3Object> objects;
  std::string token;  // of the next page; empty: this is the last
};
ListedPage read_listing(const wire::ClientResponse& response, const std::string& what);
std::string read_upload_id(const wire::ClientResponse& response, const std::string& what);

}  // namespace athanor::storage
