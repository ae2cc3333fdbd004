#include "platform/storage/object_rows.h"

#include <cstring>

namespace athanor::storage {

namespace {

constexpr std::int64_t kApplicationId = 0x4174684f;  // "AthO"
constexpr std::int64_t kVersion = 1;

// A body is named by `refs` objects and uploads; `bytes` is null when it is a file.
constexpr char kSchema[] = R"(
CREATE TABLE buckets(
  number INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  created_ms INTEGER NOT NULL);
CREATE TABLE bodies(
  number INTEGER PRIMARY KEY,
  refs INTEGER NOT NULL,
  bytes BLOB);
CREATE TABLE objects(
  bucket INTEGER NOT NULL,
  key BLOB NOT NULL,
  body INTEGER NOT NULL,
  size INTEGER NOT NULL,
  modified_ms INTEGER NOT NULL,
  etag TEXT NOT NULL,
  algorithm INTEGER NOT NULL,
  type INTEGER NOT NULL,
  checksum BLOB NOT NULL,
  checksum_parts INTEGER NOT NULL,
  headers BLOB NOT NULL,
  tags TEXT NOT NULL,
  parts BLOB NOT NULL,
  PRIMARY KEY(bucket, key)) WITHOUT ROWID;
CREATE TABLE uploads(
  bucket INTEGER NOT NULL,
  key BLOB NOT NULL,
  id TEXT NOT NULL UNIQUE,
  body INTEGER NOT NULL,
  created_ms INTEGER NOT NULL,
  algorithm INTEGER NOT NULL,
  type INTEGER NOT NULL,
  announced INTEGER NOT NULL,
  headers BLOB NOT NULL,
  PRIMARY KEY(bucket, key, id)) WITHOUT ROWID;
CREATE TABLE parts(
  upload TEXT NOT NULL,
  number INTEGER NOT NULL,
  offset INTEGER NOT NULL,
  size INTEGER NOT NULL,
  modified_ms INTEGER NOT NULL,
  md5 BLOB NOT NULL,
  checksum BLOB NOT NULL,
  PRIMARY KEY(upload, number)) WITHOUT ROWID;
)";

template <typename T>
void put(T value, std::string& to) {
  char bytes[sizeof(T)];
  std::memcpy(bytes, &value, sizeof(T));
  to.append(bytes, sizeof(T));
}

template <typename T>
T take(std::string_view& from) {
  if (from.size() < sizeof(T)) throw Error(ErrorKind::kCorrupt, "an object's row ends early");
  T value;
  std::memcpy(&value, from.data(), sizeof(T));
  from.remove_prefix(sizeof(T));
  return value;
}

void put_bytes(std::string_view bytes, std::string& to) {
  put(static_cast<std::uint32_t>(bytes.size()), to);
  to.append(bytes);
}

std::string take_bytes(std::string_view& from) {
  const auto size = take<std::uint32_t>(from);
  if (from.size() < size) throw Error(ErrorKind::kCorrupt, "an object's row ends early");
  std::string bytes(from.substr(0, size));
  from.remove_prefix(size);
  return bytes;
}

}  // namespace

void prepare_object_schema(Database& database) {
  const std::int64_t application = database.query_int("PRAGMA application_id");
  const std::int64_t version = database.query_int("PRAGMA user_version");
  const bool empty = database.query_int("SELECT count(*) FROM sqlite_schema") == 0;
  if (!empty && application != kApplicationId) {
    throw Error(ErrorKind::kCorrupt, "{} is not an Athanor object store; move it away", database.path());
  }
  if (version > kVersion) {
    throw Error(ErrorKind::kInvalid, "{} was written by a newer Athanor (format {}, this one knows {}); use that one",
                database.path(), version, kVersion);
  }
  if (!empty) return;
  database.run("BEGIN IMMEDIATE");
  database.run(kSchema);
  database.run(fmt::format("PRAGMA application_id = {}", kApplicationId).c_str());
  database.run(fmt::format("PRAGMA user_version = {}", kVersion).c_str());
  database.run("COMMIT");
}

std::string encode_headers(const ObjectHeaders& headers) {
  std::string bytes;
  for (const auto& [name, value] : headers) {
    put_bytes(name, bytes);
    put_bytes(value, bytes);
  }
  return bytes;
}

ObjectHeaders decode_headers(std::string_view bytes) {
  ObjectHeaders headers;
  while (!bytes.empty()) {
    std::string name = take_bytes(bytes);
    std::string value = take_bytes(bytes);
    headers.emplace_back(std::move(name), std::move(value));
  }
  return headers;
}

std::string encode_parts(const std::vector<ObjectPart>& parts) {
  std::string bytes;
  for (const ObjectPart& part : parts) {
    put(part.number, bytes);
    put(part.size, bytes);
    put(part.offset, bytes);
    put_bytes(part.checksum, bytes);
  }
  return bytes;
}

std::vector<ObjectPart> decode_parts(std::string_view bytes) {
  std::vector<ObjectPart> parts;
  while (!bytes.empty()) {
    ObjectPart part;
    part.number = take<std::uint32_t>(bytes);
    part.size = take<std::uint64_t>(bytes);
    part.offset = take<std::uint64_t>(bytes);
    part.checksum = take_bytes(bytes);
    parts.push_back(std::move(part));
  }
  return parts;
}

std::int64_t bucket_number(Database& database, std::string_view name) {
  Statement& find = database.prepared("SELECT number FROM buckets WHERE name = ?");
  if (!find.text(name).step()) {
    throw StoreError(StoreError::Fault::kNoSuchBucket, ErrorKind::kNotFound,
                     fmt::format("there is no bucket '{}'", name));
  }
  const std::int64_t number = find.next_integer();
  find.reset();
  return number;
}

std::optional<ObjectRow> find_object(Database& database, std::int64_t bucket, std::string_view key) {
  Statement& find = database.prepared(
      "SELECT body, size, modified_ms, etag, algorithm, type, checksum, checksum_parts, headers, tags, parts "
      "FROM objects WHERE bucket = ? AND key = ?");
  if (!find.integer(bucket).blob(key).step()) return std::nullopt;
  ObjectRow row;
  row.body = static_cast<std::uint64_t>(find.next_integer());
  row.info.key = key;
  row.info.size = static_cast<std::uint64_t>(find.next_integer());
  row.info.modified_ms = find.next_integer();
  row.info.etag = find.next_bytes();
  row.info.checksum.algorithm = static_cast<ChecksumAlgorithm>(find.next_integer());
  row.info.checksum.type = static_cast<ChecksumType>(find.next_integer());
  row.info.checksum.value = find.next_bytes();
  row.info.checksum.parts = static_cast<std::uint32_t>(find.next_integer());
  row.info.headers = decode_headers(find.next_bytes());
  row.info.tags = find.next_bytes();
  row.info.parts = decode_parts(find.next_bytes());
  find.reset();
  return row;
}

StoreError no_such_key(std::string_view key) {
  return StoreError(StoreError::Fault::kNoSuchKey, ErrorKind::kNotFound, fmt::format("there is no object '{}'", key));
}

}  // namespace athanor::storage
