// A client of S3: of the embedded store, of AWS, of whatever speaks the protocol. Blocking; any thread.
//
// Requests that may be repeated are, after a pause that doubles and jitters; a streamed upload is repeated by parts, which
// are held in memory. What arrives is checked against the checksum that the store keeps; what is sent carries a
// CRC64NVME that the store checks. Errors: kNotFound (no such bucket or key), kDenied, kConflict (a condition failed),
// kExhausted (the store is full), kUnavailable (given up after the last try), kCorrupt (a checksum, or an answer that makes
// no sense), kInvalid (the store refused the request, or cannot do it); the text names operation, address and the store's
// own words.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/clock.h"
#include "common/files.h"
#include "platform/storage/s3_uri.h"
#include "platform/wire/http_client.h"
#include "platform/wire/sigv4.h"

namespace athanor::storage {

struct S3Object {
  std::string key;
  std::uint64_t size = 0;
  std::string etag;  // with its quotes
};

struct S3Head {
  std::uint64_t size = 0;
  std::string etag;
  std::string content_type;
  std::map<std::string, std::string> metadata;
};

class S3Client {
 public:
  struct Options {
    std::string endpoint;  // "http://127.0.0.1:9100"; path style
    std::string region = "us-east-1";
    std::string ca_file;  // PEM to trust for https; empty: the system's
    int tries_max = 5;    // of one request
    std::int64_t pause_first_ms = 100;
    std::int64_t idle_timeout_ms = 60'000;
    std::function<wire::Endpoint()> where;  // as HttpClient's
    std::uint64_t part_bytes = 16 << 20;    // of multipart uploads and ranged downloads
    int parts_at_once = 4;
  };
  // Asked before every request, from any thread: credentials may be refreshed.
  using CredentialsSource = std::function<wire::Credentials()>;

  // `clock` and `files` outlive the client.
  S3Client(Options options, CredentialsSource credentials, const Clock& clock, Files& files);
  ~S3Client();
  S3Client(const S3Client&) = delete;
  S3Client& operator=(const S3Client&) = delete;

  // Every object whose key starts with `prefix`, in the order of keys' bytes. `take` may return false to end.
  void list(const std::string& bucket, const std::string& prefix, const std::function<bool(const S3Object&)>& take);
  std::vector<S3Object> list(const std::string& bucket, const std::string& prefix);

  // Nothing when there is no such object.
  std::optional<S3Head> head(const S3Uri& from);
  // A small object into memory; throws kExhausted above `bytes_max`.
  std::string get(const S3Uri& from, std::size_t bytes_max = 16 << 20);
  // Into a file, which is there whole or not at all: written beside it under a name that nothing else has, then renamed.
  // Large objects come in parallel ranges, all of one version (If-Match). `progress` hears bytes as they come, from any
  // thread, and may throw to end it.
  void get_to_file(const S3Uri& from, const std::string& path, const std::function<void(std::uint64_t)>& progress = {});
  // The same from its first byte to its last, as it comes, from the calling thread. What is wrong with the whole is known
  // only behind the last byte, and thrown then. `take` may throw to end it.
  void get_streamed(const S3Uri& from, const std::function<void(std::string_view)>& take);

  void put(const S3Uri& to, std::string_view bytes, const std::string& content_type = {});
  // Multipart above 16 MiB. The file must not change meanwhile; kConflict when it did.
  void put_from_file(const S3Uri& to, const std::string& path, const std::function<void(std::uint64_t)>& progress = {});

  // A body of unknown length, written piece by piece by one thread; uploaded in parts as it grows. Nothing exists under
  // the key before finish(); without it everything is undone.
  class Upload {
   public:
    virtual ~Upload() = default;
    virtual void write(std::string_view bytes) = 0;
    virtual void finish() = 0;
  };
  std::unique_ptr<Upload> start_upload(const S3Uri& to, const std::string& content_type = {});

  void remove(const S3Uri& what);  // nothing to do when absent
  void copy(const S3Uri& from, const S3Uri& to);
  void create_bucket(const std::string& bucket);

  // Uploads every file below `folder` as PREFIX/relative/path, several at once; links to files inside are followed,
  // other kinds are refused. Returns how many.
  std::size_t put_folder(const std::string& folder, const S3Uri& prefix,
                         const std::function<void(std::uint64_t)>& progress = {});

  struct Core;

 private:
  std::unique_ptr<Core> core_;
};

}  // namespace athanor::storage
