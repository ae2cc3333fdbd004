// The embedded object store: buckets and objects by key, where a key is bytes and not a path.
//
// FOLDER/objects.db (SQLite, WAL, synchronous=FULL) holds names, metadata and bodies up to 64 KiB; FOLDER/bodies/ holds
// larger ones, a file each, named by number and unchanged once named by the database. What was acknowledged survives
// kill -9 and power loss: a large body is on the device before the transaction that names it begins, and files that
// no row names are removed when the store opens.
//
// Changes go through one writer thread that commits whatever has gathered as one transaction (group commit); each call
// takes a `Done` that runs on that thread, once the change is durable or refused, and must be quick. Reads run on the
// calling thread, any thread, and see committed state. Refusals are StoreErrors; a full disk is kExhausted and leaves
// nothing half-stored.
#pragma once

#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/clock.h"
#include "common/error.h"
#include "common/files.h"
#include "common/random.h"
#include "platform/storage/checksum.h"

namespace athanor::storage {

class StoreError : public Error {
 public:
  enum class Fault {
    kNoSuchBucket,
    kNoSuchKey,
    kNoSuchUpload,
    kBucketExists,
    kBucketNotEmpty,
    kPreconditionFailed,
    kInvalidPart,
    kInvalidPartOrder,
    kPartTooSmall,
    kChecksumMismatch,  // of a completed upload against what the client announced
  };
  StoreError(Fault fault, ErrorKind kind, std::string what) : Error(kind, std::move(what)), fault_(fault) {}
  Fault fault() const { return fault_; }

 private:
  Fault fault_;
};

inline constexpr std::size_t kSmallBodyBytesMax = 64 << 10;
inline constexpr std::uint64_t kPartBytesMin = 5 << 20;
inline constexpr std::uint32_t kPartNumberMax = 10'000;
inline constexpr std::int64_t kUploadIdleMax_ms = 7 * 24 * 3600'000ll;

// What a client says of an object, kept and given back: Content-Type, x-amz-meta-…, and so on.
using ObjectHeaders = std::vector<std::pair<std::string, std::string>>;

struct ObjectPart {
  std::uint32_t number = 0;
  std::uint64_t size = 0;
  std::string checksum;      // raw, of the object's checksum algorithm
  std::uint64_t offset = 0;  // in the body's file
};

struct ObjectInfo {
  std::string key;
  std::uint64_t size = 0;
  std::int64_t modified_ms = 0;
  std::string etag;  // without quotes: MD5 in hex, or MD5-of-MD5s "-" parts
  ObjectHeaders headers;
  Checksum checksum;
  std::vector<ObjectPart> parts;  // empty unless it came by a multipart upload
  std::string tags;               // as given: "a=1&b=2"
};

struct Extent {
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
};

// An object opened for reading; it stays whole whatever happens to its name.
struct OpenObject {
  ObjectInfo info;
  std::string small;                      // the body, when it is small
  std::shared_ptr<const int> descriptor;  // else its file
  std::vector<Extent> extents;            // the body's pieces in that file, in order

  // The pieces of [offset, offset + length).
  std::vector<Extent> slice(std::uint64_t offset, std::uint64_t length) const;
};

struct BucketInfo {
  std::string name;
  std::int64_t created_ms = 0;
};

struct ListQuery {
  std::string prefix;
  std::string delimiter;         // empty: none
  std::string start_after;       // keys up to and including this are skipped, and so is the group of this very name
  std::size_t count_max = 1000;  // of objects and groups together
};

struct Listing {
  std::vector<ObjectInfo> objects;  // without headers, parts and tags
  std::vector<std::string> groups;  // common prefixes
  bool truncated = false;
  std::string last;  // the last key or group taken: `start_after` of the next page
};

struct UploadInfo {
  std::string id;
  std::string key;
  std::int64_t created_ms = 0;
  ObjectHeaders headers;
  ChecksumAlgorithm algorithm = ChecksumAlgorithm::kCrc64Nvme;
  ChecksumType type = ChecksumType::kFullObject;
  bool announced = false;  // the client chose the algorithm
};

struct UploadQuery {
  std::string prefix;
  std::string key_marker;  // keys up to and including this are skipped, but for ids above `id_marker` of this very key
  std::string id_marker;
  std::size_t count_max = 1000;
};

struct PartInfo {
  std::uint32_t number = 0;
  std::uint64_t size = 0;
  std::int64_t modified_ms = 0;
  std::string etag;      // without quotes
  std::string checksum;  // raw, of the upload's algorithm
};

// If-Match and If-None-Match: * of a write.
struct Conditions {
  std::optional<std::string> if_match;  // an ETag without quotes, or "*"
  bool if_absent = false;
};

// A body on its way in. One thread at a time, but hash() and store() of the same piece may run beside each other.
class IncomingBody {
 public:
  virtual ~IncomingBody() = default;  // what was not named by a commit is removed
  // Feeds ETag and checksums.
  virtual void hash(std::string_view piece) = 0;
  // Keeps the bytes. Throws kExhausted on a full disk.
  virtual void store(std::string_view piece) = 0;
  void write(std::string_view piece) {
    hash(piece);
    store(piece);
  }
  // Ends it; waits for the device when the body is large. Afterwards the following hold.
  virtual void finish() = 0;
  virtual std::uint64_t size() const = 0;
  virtual const std::string& md5() const = 0;  // raw
  // Of an algorithm asked for, or CRC64NVME.
  virtual const std::string& checksum(ChecksumAlgorithm algorithm) const = 0;
  // Whether finish() has nothing to wait for, so far.
  virtual bool in_memory() const = 0;
};

struct PutRequest {
  std::string bucket;
  std::string key;
  std::shared_ptr<IncomingBody> body;  // finished
  ObjectHeaders headers;
  ChecksumAlgorithm algorithm = ChecksumAlgorithm::kCrc64Nvme;  // which of the body's checksums to keep
  std::string tags;
  Conditions conditions;
};

struct CopyRequest {
  std::string from_bucket;
  std::string from_key;
  std::string from_etag;  // of the version that was looked at; kPreconditionFailed when it changed since
  std::string bucket;
  std::string key;
  std::optional<ObjectHeaders> headers;  // absent: the source's
  std::optional<std::string> tags;       // likewise
  Conditions conditions;
};

struct CompletedPart {
  std::uint32_t number = 0;
  std::string etag;      // without quotes
  std::string checksum;  // raw; empty: not given
};

struct CompleteRequest {
  std::string bucket;
  std::string key;
  std::string upload_id;
  std::vector<CompletedPart> parts;
  std::string checksum;               // raw, of the whole; empty: not given
  std::optional<std::uint64_t> size;  // of the whole, when given
  Conditions conditions;
};

class ObjectStore {
 public:
  template <typename T>
  using Done = std::function<void(std::exception_ptr failure, T result)>;
  struct Nothing {};

  // Opens or creates FOLDER, and clears what an earlier crash left. Everything given outlives the store. Throws kCorrupt
  // when the database is not ours, kInvalid when a newer program wrote it.
  static std::unique_ptr<ObjectStore> open(const std::string& folder, Files& files, const Clock& clock, Random& random);
  // Waits for what is queued.
  virtual ~ObjectStore() = default;

  // ---- buckets
  virtual void create_bucket(std::string name, Done<Nothing> done) = 0;  // kBucketExists
  virtual void delete_bucket(std::string name, Done<Nothing> done) = 0;  // kNoSuchBucket, kBucketNotEmpty
  virtual std::optional<BucketInfo> find_bucket(const std::string& name) = 0;
  virtual std::vector<BucketInfo> list_buckets() = 0;  // by name

  // ---- objects
  // A body for a put. `algorithms`: the checksums to compute beside MD5 and CRC64NVME.
  virtual std::unique_ptr<IncomingBody> receive(std::vector<ChecksumAlgorithm> algorithms) = 0;
  virtual void put(PutRequest request, Done<ObjectInfo> done) = 0;
  virtual void copy(CopyRequest request, Done<ObjectInfo> done) = 0;
  // True when there was one. `if_match` empty: whatever it is.
  virtual void remove(std::string bucket, std::string key, std::string if_match, Done<bool> done) = 0;
  virtual void set_tags(std::string bucket, std::string key, std::string tags, Done<Nothing> done) = 0;
  // kNoSuchBucket, kNoSuchKey.
  virtual ObjectInfo stat(const std::string& bucket, const std::string& key) = 0;
  virtual OpenObject open_object(const std::string& bucket, const std::string& key) = 0;
  virtual Listing list(const std::string& bucket, const ListQuery& query) = 0;

  // ---- multipart uploads
  // One whose client died stays until nothing has come to it for kUploadIdleMax_ms; then it is as if aborted.
  // `info` without id and time; the reply has them.
  virtual void create_upload(std::string bucket, UploadInfo info, Done<UploadInfo> done) = 0;
  // A body for a part; its bytes go where they will be read. `size` must be what then comes. `algorithms`: beside the
  // upload's own.
  virtual std::unique_ptr<IncomingBody> receive_part(const std::string& bucket, const std::string& key,
                                                     const std::string& upload_id, std::uint32_t number,
                                                     std::uint64_t size, std::vector<ChecksumAlgorithm> algorithms) = 0;
  virtual void put_part(std::string upload_id, std::uint32_t number, std::shared_ptr<IncomingBody> body,
                        Done<PartInfo> done) = 0;
  virtual void complete_upload(CompleteRequest request, Done<ObjectInfo> done) = 0;
  virtual void abort_upload(std::string bucket, std::string key, std::string upload_id, Done<Nothing> done) = 0;
  virtual UploadInfo find_upload(const std::string& bucket, const std::string& key, const std::string& upload_id) = 0;
  // Up to `count_max` parts above `after`, by number.
  virtual std::vector<PartInfo> list_parts(const std::string& upload_id, std::uint32_t after,
                                           std::size_t count_max) = 0;
  // By key, then id.
  virtual std::vector<UploadInfo> list_uploads(const std::string& bucket, const UploadQuery& query) = 0;
};

}  // namespace athanor::storage
