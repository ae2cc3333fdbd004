#include "platform/storage/embedded_store.h"

#include <algorithm>
#include <unordered_set>

#include "common/log.h"

namespace athanor::storage {

namespace {

constexpr std::size_t kIdleReadersMax = 8;
// Times to look again when an object is replaced between the look at its row and the opening of its file.
constexpr int kLooksMax = 10;

std::unique_ptr<Database> open_writer(const std::string& path) {
  auto database = std::make_unique<Database>(path, Database::Mode::kReadWrite);
  database->run("PRAGMA page_size = 8192");
  database->run("PRAGMA journal_mode = WAL");
  database->run("PRAGMA synchronous = FULL");
  database->run("PRAGMA wal_autocheckpoint = 0");
  database->run("PRAGMA journal_size_limit = 67108864");
  database->run("PRAGMA cache_size = -16384");
  prepare_object_schema(*database);
  return database;
}

}  // namespace

std::unique_ptr<ObjectStore> ObjectStore::open(const std::string& folder, Files& files, const Clock& clock,
                                               Random& random) {
  files.make_folders(folder, 0700);
  return std::make_unique<EmbeddedStore>(folder, files, clock, random);
}

Readers::Lease Readers::take() {
  {
    const std::lock_guard lock(mutex_);
    if (!idle_.empty()) {
      auto database = std::move(idle_.back());
      idle_.pop_back();
      return Lease(*this, std::move(database));
    }
  }
  return Lease(*this, std::make_unique<Database>(path_, Database::Mode::kReadOnly));
}

void Readers::give_back(std::unique_ptr<Database> database) {
  if (sqlite3_get_autocommit(database->handle()) == 0) return;  // left in mid-transaction by an exception
  const std::lock_guard lock(mutex_);
  if (idle_.size() < kIdleReadersMax) idle_.push_back(std::move(database));
}

Remover::Remover(BodyFiles& bodies) : bodies_(bodies), thread_([this] { loop(); }) {}

Remover::~Remover() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_one();
  thread_.join();
}

void Remover::remove(std::vector<std::uint64_t> numbers) {
  {
    const std::lock_guard lock(mutex_);
    queue_.insert(queue_.end(), numbers.begin(), numbers.end());
  }
  changed_.notify_one();
}

void Remover::loop() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
    if (queue_.empty()) return;
    const std::uint64_t number = queue_.front();
    queue_.pop_front();
    lock.unlock();
    try {
      bodies_.remove(number);
    } catch (const Error& error) {
      log::warning("storage", "{}; the next start tries again", error.what());
    }
    lock.lock();
  }
}

EmbeddedStore::EmbeddedStore(const std::string& folder, Files& files, const Clock& clock, Random& random)
    : database_path_(folder + "/objects.db"),
      files_(files),
      clock_(clock),
      random_(random),
      bodies_(folder + "/bodies", files),
      readers_(database_path_),
      remover_(bodies_) {
  auto database = open_writer(database_path_);
  files_.sync_folder(folder);
  next_body_ = static_cast<std::uint64_t>(database->query_int("SELECT coalesce(max(number), 0) + 1 FROM bodies"));
  std::unordered_set<std::uint64_t> named;
  Statement numbers(*database, "SELECT number FROM bodies WHERE bytes IS NULL");
  while (numbers.step()) named.insert(static_cast<std::uint64_t>(numbers.next_integer()));
  if (const std::size_t removed = bodies_.sweep(named)) {
    log::info("storage", "removed {} files of uploads that an earlier end cut short", removed);
  }
  writer_ =
      std::make_unique<GroupCommit>(std::move(database), std::make_unique<DiskReserve>(folder + "/reserve", files_));
  expire_uploads();
}

// pieces of work

void release_body(Database& database, std::uint64_t body, std::vector<std::uint64_t>& unnamed) {
  const auto number = static_cast<std::int64_t>(body);
  Statement& look = database.prepared("SELECT refs, bytes IS NULL FROM bodies WHERE number = ?");
  ATHANOR_ASSERT(look.integer(number).step());
  const std::int64_t refs = look.next_integer();
  const bool is_file = look.next_integer() != 0;
  look.reset();
  if (refs > 1) {
    database.prepared("UPDATE bodies SET refs = refs - 1 WHERE number = ?").integer(number).run();
    return;
  }
  database.prepared("DELETE FROM bodies WHERE number = ?").integer(number).run();
  if (is_file) unnamed.push_back(body);
}

void replace_object(Database& database, std::int64_t bucket, const ObjectRow& row,
                    std::vector<std::uint64_t>& unnamed) {
  const ObjectInfo& info = row.info;
  Statement& look = database.prepared("SELECT body FROM objects WHERE bucket = ? AND key = ?");
  if (look.integer(bucket).blob(info.key).step()) {
    const auto old = static_cast<std::uint64_t>(look.next_integer());
    look.reset();
    release_body(database, old, unnamed);
  }
  const std::string headers = encode_headers(info.headers);
  const std::string parts = encode_parts(info.parts);
  database
      .prepared(
          "INSERT OR REPLACE INTO objects(bucket, key, body, size, modified_ms, etag, algorithm, type, checksum, "
          "checksum_parts, headers, tags, parts) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")
      .integer(bucket)
      .blob(info.key)
      .integer(static_cast<std::int64_t>(row.body))
      .integer(static_cast<std::int64_t>(info.size))
      .integer(info.modified_ms)
      .text(info.etag)
      .integer(static_cast<std::int64_t>(info.checksum.algorithm))
      .integer(static_cast<std::int64_t>(info.checksum.type))
      .blob(info.checksum.value)
      .integer(info.checksum.parts)
      .blob(headers)
      .text(info.tags)
      .blob(parts)
      .run();
}

void check_conditions(Database& database, std::int64_t bucket, const std::string& key, const Conditions& conditions) {
  if (!conditions.if_match && !conditions.if_absent) return;
  Statement& look = database.prepared("SELECT etag FROM objects WHERE bucket = ? AND key = ?");
  const bool exists = look.integer(bucket).blob(key).step();
  const std::string etag = exists ? look.next_bytes() : std::string();
  look.reset();
  const auto failed = [&](const char* what) {
    return StoreError(StoreError::Fault::kPreconditionFailed, ErrorKind::kConflict,
                      fmt::format("writing '{}': {}", key, what));
  };
  if (conditions.if_absent && exists) throw failed("it exists already");
  if (!conditions.if_match) return;
  if (!exists) throw no_such_key(key);
  if (*conditions.if_match != "*" && *conditions.if_match != etag) throw failed("it is another version");
}

// buckets

void EmbeddedStore::create_bucket(std::string name, Done<Nothing> done) {
  submit<Nothing>(
      [this, name = std::move(name)](Database& database, Result<Nothing>&) {
        database.prepared("INSERT OR IGNORE INTO buckets(name, created_ms) VALUES(?, ?)")
            .text(name)
            .integer(clock_.wall_ms())
            .run();
        if (database.changes() == 0) {
          throw StoreError(StoreError::Fault::kBucketExists, ErrorKind::kConflict,
                           fmt::format("the bucket '{}' exists already", name));
        }
      },
      std::move(done));
}

void EmbeddedStore::delete_bucket(std::string name, Done<Nothing> done) {
  submit<Nothing>(
      [name = std::move(name)](Database& database, Result<Nothing>& result) {
        const std::int64_t bucket = bucket_number(database, name);
        Statement& look = database.prepared("SELECT 1 FROM objects WHERE bucket = ? LIMIT 1");
        if (look.integer(bucket).step()) {
          look.reset();
          throw StoreError(StoreError::Fault::kBucketNotEmpty, ErrorKind::kConflict,
                           fmt::format("the bucket '{}' is not empty", name));
        }
        Statement& uploads = database.prepared("SELECT id, body FROM uploads WHERE bucket = ?");
        std::vector<std::pair<std::string, std::uint64_t>> left;
        for (uploads.integer(bucket); uploads.step();) {
          std::string id = uploads.next_bytes();
          left.emplace_back(std::move(id), static_cast<std::uint64_t>(uploads.next_integer()));
        }
        for (const auto& [id, body] : left) {
          remove_upload(database, id);
          release_body(database, body, result.unnamed);
        }
        database.prepared("DELETE FROM buckets WHERE number = ?").integer(bucket).run();
      },
      std::move(done), GroupCommit::Kind::kRemoves);
}

std::optional<BucketInfo> EmbeddedStore::find_bucket(const std::string& name) {
  auto reader = readers_.take();
  Statement& find = (*reader).prepared("SELECT created_ms FROM buckets WHERE name = ?");
  if (!find.text(name).step()) return std::nullopt;
  const BucketInfo info{name, find.next_integer()};
  find.reset();
  return info;
}

std::vector<BucketInfo> EmbeddedStore::list_buckets() {
  auto reader = readers_.take();
  std::vector<BucketInfo> buckets;
  Statement& all = (*reader).prepared("SELECT name, created_ms FROM buckets ORDER BY name");
  while (all.step()) {
    std::string name = all.next_bytes();
    buckets.push_back({std::move(name), all.next_integer()});
  }
  return buckets;
}

// objects

std::unique_ptr<IncomingBody> EmbeddedStore::receive(std::vector<ChecksumAlgorithm> algorithms) {
  return std::make_unique<SpooledBody>(bodies_, next_body_, algorithms);
}

void EmbeddedStore::put(PutRequest request, Done<ObjectInfo> done) {
  // Work may be repeated, so that it leaves the request as it is.
  const auto shared = std::make_shared<PutRequest>(std::move(request));
  submit<ObjectInfo>(
      [this, shared](Database& database, Result<ObjectInfo>& result) {
        auto& body = static_cast<SpooledBody&>(*shared->body);
        const std::int64_t bucket = bucket_number(database, shared->bucket);
        check_conditions(database, bucket, shared->key, shared->conditions);
        Statement& insert = database.prepared("INSERT INTO bodies(number, refs, bytes) VALUES(?, 1, ?)");
        insert.integer(static_cast<std::int64_t>(body.number()));
        body.in_memory() ? insert.blob(body.bytes()) : insert.null();
        insert.run();
        ObjectRow row;
        row.body = body.number();
        row.info.key = shared->key;
        row.info.size = body.size();
        row.info.modified_ms = clock_.wall_ms();
        row.info.etag = to_hex(body.md5());
        row.info.headers = shared->headers;
        row.info.tags = shared->tags;
        row.info.checksum = {shared->algorithm, ChecksumType::kFullObject, body.checksum(shared->algorithm), 0};
        replace_object(database, bucket, row, result.unnamed);
        result.value = std::move(row.info);
      },
      [shared, done = std::move(done)](std::exception_ptr failure, ObjectInfo info) {
        if (!failure) static_cast<SpooledBody&>(*shared->body).keep();
        done(failure, std::move(info));
      });
}

void EmbeddedStore::copy(CopyRequest request, Done<ObjectInfo> done) {
  submit<ObjectInfo>(
      [this, request = std::move(request)](Database& database, Result<ObjectInfo>& result) {
        const std::int64_t from_bucket = bucket_number(database, request.from_bucket);
        const std::int64_t bucket = bucket_number(database, request.bucket);
        auto row = find_object(database, from_bucket, request.from_key);
        if (!row) throw no_such_key(request.from_key);
        if (!request.from_etag.empty() && row->info.etag != request.from_etag) {
          throw StoreError(StoreError::Fault::kPreconditionFailed, ErrorKind::kConflict,
                           fmt::format("copying '{}': it changed meanwhile", request.from_key));
        }
        check_conditions(database, bucket, request.key, request.conditions);
        database.prepared("UPDATE bodies SET refs = refs + 1 WHERE number = ?")
            .integer(static_cast<std::int64_t>(row->body))
            .run();
        row->info.key = request.key;
        row->info.modified_ms = clock_.wall_ms();
        if (request.headers) row->info.headers = *request.headers;
        if (request.tags) row->info.tags = *request.tags;
        replace_object(database, bucket, *row, result.unnamed);
        result.value = std::move(row->info);
      },
      std::move(done));
}

void EmbeddedStore::remove(std::string bucket, std::string key, std::string if_match, Done<bool> done) {
  submit<bool>(
      [bucket = std::move(bucket), key = std::move(key), if_match = std::move(if_match)](Database& database,
                                                                                         Result<bool>& result) {
        const std::int64_t number = bucket_number(database, bucket);
        const auto row = find_object(database, number, key);
        if (!row) return;
        if (!if_match.empty() && if_match != "*" && row->info.etag != if_match) {
          throw StoreError(StoreError::Fault::kPreconditionFailed, ErrorKind::kConflict,
                           fmt::format("deleting '{}': it is another version", key));
        }
        release_body(database, row->body, result.unnamed);
        database.prepared("DELETE FROM objects WHERE bucket = ? AND key = ?").integer(number).blob(key).run();
        result.value = true;
      },
      std::move(done), GroupCommit::Kind::kRemoves);
}

void EmbeddedStore::set_tags(std::string bucket, std::string key, std::string tags, Done<Nothing> done) {
  submit<Nothing>(
      [bucket = std::move(bucket), key = std::move(key), tags = std::move(tags)](Database& database, Result<Nothing>&) {
        database.prepared("UPDATE objects SET tags = ? WHERE bucket = ? AND key = ?")
            .text(tags)
            .integer(bucket_number(database, bucket))
            .blob(key)
            .run();
        if (database.changes() == 0) throw no_such_key(key);
      },
      std::move(done));
}

ObjectInfo EmbeddedStore::stat(const std::string& bucket, const std::string& key) {
  auto reader = readers_.take();
  auto row = find_object(*reader, bucket_number(*reader, bucket), key);
  if (!row) throw no_such_key(key);
  return std::move(row->info);
}

OpenObject EmbeddedStore::open_object(const std::string& bucket, const std::string& key) {
  auto reader = readers_.take();
  for (int look = 0; look < kLooksMax; ++look) {
    auto row = find_object(*reader, bucket_number(*reader, bucket), key);
    if (!row) throw no_such_key(key);
    OpenObject object;
    object.info = std::move(row->info);
    Statement& body = (*reader).prepared("SELECT bytes IS NULL, bytes FROM bodies WHERE number = ?");
    if (!body.integer(static_cast<std::int64_t>(row->body)).step()) continue;
    const bool is_file = body.next_integer() != 0;
    object.small = body.next_bytes();
    body.reset();
    if (!is_file) return object;
    object.descriptor = bodies_.open_descriptor(row->body);
    if (!object.descriptor) continue;
    if (object.info.parts.empty()) object.extents.push_back({0, object.info.size});
    for (const ObjectPart& part : object.info.parts) {
      if (part.size == 0) continue;
      auto& extents = object.extents;
      if (!extents.empty() && extents.back().offset + extents.back().length == part.offset) {
        extents.back().length += part.size;
      } else {
        extents.push_back({part.offset, part.size});
      }
    }
    return object;
  }
  throw Error(ErrorKind::kUnavailable, "reading s3://{}/{}: it is replaced faster than it can be opened", bucket, key);
}

std::vector<Extent> OpenObject::slice(std::uint64_t offset, std::uint64_t length) const {
  std::vector<Extent> pieces;
  for (const Extent& extent : extents) {
    if (length == 0) break;
    if (offset >= extent.length) {
      offset -= extent.length;
      continue;
    }
    const std::uint64_t taken = std::min(length, extent.length - offset);
    pieces.push_back({extent.offset + offset, taken});
    length -= taken;
    offset = 0;
  }
  return pieces;
}

}  // namespace athanor::storage
