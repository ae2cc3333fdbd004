// Multipart uploads: parts in ranges of one file, which becomes the object's when the upload is completed.
#include <algorithm>

#include "common/log.h"
#include "platform/storage/embedded_store.h"
#include "platform/storage/read_transaction.h"

namespace athanor::storage {

namespace {

using Fault = StoreError::Fault;

constexpr std::int64_t kExpiryPause_ms = 3600'000;
constexpr std::int64_t kExpiredAtOnceMax = 1000;  // the rest goes the next time

StoreError no_such_upload(std::string_view id) {
  return StoreError(Fault::kNoSuchUpload, ErrorKind::kNotFound, fmt::format("there is no multipart upload '{}'", id));
}

struct UploadRow {
  UploadInfo info;
  std::int64_t bucket = 0;
  std::uint64_t body = 0;
};

UploadRow read_upload(Statement& row) {
  UploadRow upload;
  upload.bucket = row.next_integer();
  upload.info.key = row.next_bytes();
  upload.info.id = row.next_bytes();
  upload.body = static_cast<std::uint64_t>(row.next_integer());
  upload.info.created_ms = row.next_integer();
  upload.info.algorithm = static_cast<ChecksumAlgorithm>(row.next_integer());
  upload.info.type = static_cast<ChecksumType>(row.next_integer());
  upload.info.announced = row.next_integer() != 0;
  upload.info.headers = decode_headers(row.next_bytes());
  return upload;
}

UploadRow upload_row(Database& database, const std::string& id) {
  Statement& find = database.prepared(
      "SELECT bucket, key, id, body, created_ms, algorithm, type, announced, headers FROM uploads WHERE id = ?");
  if (!find.text(id).step()) throw no_such_upload(id);
  UploadRow upload = read_upload(find);
  find.reset();
  return upload;
}

UploadRow upload_row(Database& database, const std::string& bucket, const std::string& key, const std::string& id) {
  const std::int64_t number = bucket_number(database, bucket);
  UploadRow upload = upload_row(database, id);
  if (upload.bucket != number || upload.info.key != key) throw no_such_upload(id);
  return upload;
}

struct PartRow {
  PartInfo info;
  std::uint64_t offset = 0;
  std::string md5;
};

std::vector<PartRow> part_rows(Database& database, const std::string& upload_id, std::uint32_t after,
                               std::size_t count_max) {
  std::vector<PartRow> rows;
  Statement& find = database.prepared(
      "SELECT number, offset, size, modified_ms, md5, checksum FROM parts WHERE upload = ? AND number > ? "
      "ORDER BY number LIMIT ?");
  for (find.text(upload_id).integer(after).integer(static_cast<std::int64_t>(count_max)); find.step();) {
    PartRow row;
    row.info.number = static_cast<std::uint32_t>(find.next_integer());
    row.offset = static_cast<std::uint64_t>(find.next_integer());
    row.info.size = static_cast<std::uint64_t>(find.next_integer());
    row.info.modified_ms = find.next_integer();
    row.md5 = find.next_bytes();
    row.info.etag = to_hex(row.md5);
    row.info.checksum = find.next_bytes();
    rows.push_back(std::move(row));
  }
  return rows;
}

// The rows that the client's list names, in its order, which must be that of numbers.
std::vector<PartRow> chosen_parts(std::vector<PartRow> rows, const std::vector<CompletedPart>& wanted) {
  for (std::size_t i = 1; i < wanted.size(); ++i) {
    if (wanted[i - 1].number < wanted[i].number) continue;
    throw StoreError(Fault::kInvalidPartOrder, ErrorKind::kInvalid,
                     fmt::format("part {} is listed after part {}", wanted[i].number, wanted[i - 1].number));
  }
  std::vector<PartRow> chosen;
  auto at = rows.begin();
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    const CompletedPart& part = wanted[i];
    at = std::find_if(at, rows.end(), [&](const PartRow& row) { return row.info.number >= part.number; });
    const bool found = at != rows.end() && at->info.number == part.number && at->info.etag == part.etag &&
                       (part.checksum.empty() || part.checksum == at->info.checksum);
    if (!found) {
      throw StoreError(Fault::kInvalidPart, ErrorKind::kInvalid,
                       fmt::format("part {} was not uploaded, or its ETag or checksum is another", part.number));
    }
    if (i + 1 < wanted.size() && at->info.size < kPartBytesMin) {
      throw StoreError(Fault::kPartTooSmall, ErrorKind::kInvalid,
                       fmt::format("part {} has {} bytes; all but the last need {}", part.number, at->info.size,
                                   kPartBytesMin));
    }
    chosen.push_back(std::move(*at));
    ++at;
  }
  return chosen;
}

ObjectRow assemble(const UploadRow& upload, const std::vector<PartRow>& parts, const CompleteRequest& request,
                   std::int64_t now_ms) {
  ObjectRow row;
  row.body = upload.body;
  row.info.key = upload.info.key;
  row.info.headers = upload.info.headers;
  row.info.modified_ms = now_ms;
  Hasher etags("MD5");
  std::vector<PartChecksum> checksums;
  for (const PartRow& part : parts) {
    etags.update(part.md5);
    checksums.push_back({part.info.checksum, part.info.size});
    row.info.parts.push_back({part.info.number, part.info.size, part.info.checksum, part.offset});
    row.info.size += part.info.size;
  }
  row.info.etag = to_hex(etags.finish()) + "-" + std::to_string(parts.size());
  row.info.checksum = combine_checksums(upload.info.algorithm, upload.info.type, checksums);
  const bool other = !request.checksum.empty() && request.checksum != row.info.checksum.value;
  if (other || (request.size && *request.size != row.info.size)) {
    throw StoreError(Fault::kChecksumMismatch, ErrorKind::kInvalid,
                     fmt::format("completing '{}': the {} that was announced is not that of its parts", row.info.key,
                                 other ? "checksum" : "size"));
  }
  return row;
}

}  // namespace

void remove_upload(Database& database, const std::string& id) {
  database.prepared("DELETE FROM parts WHERE upload = ?").text(id).run();
  database.prepared("DELETE FROM uploads WHERE id = ?").text(id).run();
}

void EmbeddedStore::create_upload(std::string bucket, UploadInfo info, Done<UploadInfo> done) {
  expire_uploads();
  const std::uint64_t body = next_body_++;
  submit<UploadInfo>(
      [this, bucket = std::move(bucket), info = std::move(info), body](Database& database, Result<UploadInfo>& result) {
        UploadInfo upload = info;
        upload.id = random_.hex(24);
        upload.created_ms = clock_.wall_ms();
        const auto number = static_cast<std::int64_t>(body);
        const std::string headers = encode_headers(upload.headers);
        database.prepared("INSERT INTO bodies(number, refs, bytes) VALUES(?, 1, NULL)").integer(number).run();
        database
            .prepared(
                "INSERT INTO uploads(bucket, key, id, body, created_ms, algorithm, type, announced, headers) "
                "VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?)")
            .integer(bucket_number(database, bucket))
            .blob(upload.key)
            .text(upload.id)
            .integer(number)
            .integer(upload.created_ms)
            .integer(static_cast<std::int64_t>(upload.algorithm))
            .integer(static_cast<std::int64_t>(upload.type))
            .integer(upload.announced ? 1 : 0)
            .blob(headers)
            .run();
        result.value = std::move(upload);
      },
      std::move(done));
}

void EmbeddedStore::expire_uploads() {
  const std::int64_t now_ms = clock_.wall_ms();
  std::int64_t due_ms = next_expiry_ms_;
  if (now_ms < due_ms || !next_expiry_ms_.compare_exchange_strong(due_ms, now_ms + kExpiryPause_ms)) return;
  submit<std::vector<std::string>>(
      [before_ms = now_ms - kUploadIdleMax_ms](Database& database, Result<std::vector<std::string>>& result) {
        Statement& find = database.prepared(
            "SELECT id, body FROM uploads WHERE created_ms < ?1 AND NOT EXISTS "
            "(SELECT 1 FROM parts WHERE upload = id AND modified_ms >= ?1) LIMIT ?2");
        std::vector<std::uint64_t> bodies;
        for (find.integer(before_ms).integer(kExpiredAtOnceMax); find.step();) {
          result.value.push_back(find.next_bytes());
          bodies.push_back(static_cast<std::uint64_t>(find.next_integer()));
        }
        for (std::size_t i = 0; i < bodies.size(); ++i) {
          remove_upload(database, result.value[i]);
          release_body(database, bodies[i], result.unnamed);
        }
      },
      [this](std::exception_ptr failure, const std::vector<std::string>& expired) {
        try {
          if (failure) std::rethrow_exception(failure);
        } catch (const std::exception& error) {
          log::warning("storage", "dropping uploads that nobody goes on with: {}; it is tried again", error.what());
          return;
        }
        for (const std::string& id : expired) forget_part_space(id);
        if (!expired.empty()) log::info("storage", "dropped {} uploads that nobody goes on with", expired.size());
      },
      GroupCommit::Kind::kRemoves);
}

std::shared_ptr<PartSpace> EmbeddedStore::part_space(Database& database, const std::string& upload_id) {
  auto& space = part_spaces_[upload_id];
  if (!space) {
    space = std::make_shared<PartSpace>();
    for (const PartRow& row : part_rows(database, upload_id, 0, kPartNumberMax)) {
      space->reserve_at(row.offset, row.info.size);
    }
  }
  return space;
}

void EmbeddedStore::forget_part_space(const std::string& upload_id) {
  const std::lock_guard lock(uploads_mutex_);
  part_spaces_.erase(upload_id);
}

std::unique_ptr<IncomingBody> EmbeddedStore::receive_part(const std::string& bucket, const std::string& key,
                                                          const std::string& upload_id, std::uint32_t number,
                                                          std::uint64_t size,
                                                          std::vector<ChecksumAlgorithm> algorithms) {
  ATHANOR_ASSERT(number >= 1 && number <= kPartNumberMax);
  auto reader = readers_.take();
  // An upload ends by a commit, then forget_part_space(), then the removal of its file. Under the lock, therefore: whose
  // row is here has its space where others found it, or has none yet; and the file that is opened is the upload's own.
  const std::lock_guard lock(uploads_mutex_);
  const ReadTransaction one_view(*reader);
  const UploadRow upload = upload_row(*reader, bucket, key, upload_id);
  if (std::find(algorithms.begin(), algorithms.end(), upload.info.algorithm) == algorithms.end()) {
    algorithms.push_back(upload.info.algorithm);
  }
  return std::make_unique<PartBody>(bodies_, upload.body, part_space(*reader, upload_id), number, size, algorithms);
}

void EmbeddedStore::put_part(std::string upload_id, std::uint32_t number, std::shared_ptr<IncomingBody> body,
                             Done<PartInfo> done) {
  struct Put {
    std::string upload_id;
    std::shared_ptr<IncomingBody> body;
    std::optional<Extent> replaced;  // the range of an earlier part of this number
  };
  const auto put = std::make_shared<Put>(Put{std::move(upload_id), std::move(body), std::nullopt});
  submit<PartInfo>(
      [this, put, number](Database& database, Result<PartInfo>& result) {
        const auto& part = static_cast<const PartBody&>(*put->body);
        const UploadRow upload = upload_row(database, put->upload_id);
        put->replaced.reset();
        Statement& look = database.prepared("SELECT offset, size FROM parts WHERE upload = ? AND number = ?");
        if (look.text(put->upload_id).integer(number).step()) {
          put->replaced.emplace();
          put->replaced->offset = static_cast<std::uint64_t>(look.next_integer());
          put->replaced->length = static_cast<std::uint64_t>(look.next_integer());
          look.reset();
        }
        result.value = {number, part.size(), clock_.wall_ms(), to_hex(part.md5()),
                        part.checksum(upload.info.algorithm)};
        database
            .prepared(
                "INSERT OR REPLACE INTO parts(upload, number, offset, size, modified_ms, md5, checksum) "
                "VALUES(?, ?, ?, ?, ?, ?, ?)")
            .text(put->upload_id)
            .integer(number)
            .integer(static_cast<std::int64_t>(part.offset()))
            .integer(static_cast<std::int64_t>(part.size()))
            .integer(result.value.modified_ms)
            .blob(part.md5())
            .blob(result.value.checksum)
            .run();
      },
      [this, put, done = std::move(done)](std::exception_ptr failure, PartInfo info) {
        if (!failure) {
          static_cast<PartBody&>(*put->body).keep(put->replaced);
        }
        done(failure, std::move(info));
      });
}

void EmbeddedStore::complete_upload(CompleteRequest request, Done<ObjectInfo> done) {
  std::string id = request.upload_id;
  submit<ObjectInfo>(
      [this, request = std::move(request)](Database& database, Result<ObjectInfo>& result) {
        const UploadRow upload = upload_row(database, request.bucket, request.key, request.upload_id);
        check_conditions(database, upload.bucket, request.key, request.conditions);
        const auto parts = chosen_parts(part_rows(database, request.upload_id, 0, kPartNumberMax), request.parts);
        ObjectRow row = assemble(upload, parts, request, clock_.wall_ms());
        replace_object(database, upload.bucket, row, result.unnamed);
        remove_upload(database, request.upload_id);
        result.value = std::move(row.info);
      },
      [this, id = std::move(id), done = std::move(done)](std::exception_ptr failure, ObjectInfo info) {
        if (!failure) forget_part_space(id);
        done(failure, std::move(info));
      });
}

void EmbeddedStore::abort_upload(std::string bucket, std::string key, std::string upload_id, Done<Nothing> done) {
  std::string id = upload_id;
  submit<Nothing>(
      [bucket = std::move(bucket), key = std::move(key), upload_id = std::move(upload_id)](Database& database,
                                                                                           Result<Nothing>& result) {
        const UploadRow upload = upload_row(database, bucket, key, upload_id);
        remove_upload(database, upload_id);
        release_body(database, upload.body, result.unnamed);
      },
      [this, id = std::move(id), done = std::move(done)](std::exception_ptr failure, Nothing nothing) {
        if (!failure) forget_part_space(id);
        done(failure, nothing);
      },
      GroupCommit::Kind::kRemoves);
}

UploadInfo EmbeddedStore::find_upload(const std::string& bucket, const std::string& key, const std::string& upload_id) {
  auto reader = readers_.take();
  return upload_row(*reader, bucket, key, upload_id).info;
}

std::vector<PartInfo> EmbeddedStore::list_parts(const std::string& upload_id, std::uint32_t after,
                                                std::size_t count_max) {
  auto reader = readers_.take();
  std::vector<PartInfo> parts;
  for (PartRow& row : part_rows(*reader, upload_id, after, count_max)) parts.push_back(std::move(row.info));
  return parts;
}

std::vector<UploadInfo> EmbeddedStore::list_uploads(const std::string& bucket, const UploadQuery& query) {
  auto reader = readers_.take();
  const std::int64_t number = bucket_number(*reader, bucket);
  std::vector<UploadInfo> uploads;
  Statement& find = (*reader).prepared(
      "SELECT bucket, key, id, body, created_ms, algorithm, type, announced, headers FROM uploads "
      "WHERE bucket = ? AND key >= ? ORDER BY key, id");
  const std::string seek = std::max(query.prefix, query.key_marker);
  find.integer(number).blob(seek);
  while (uploads.size() < query.count_max && find.step()) {
    UploadInfo upload = read_upload(find).info;
    if (!upload.key.starts_with(query.prefix)) break;
    if (!query.key_marker.empty() && upload.key == query.key_marker &&
        (query.id_marker.empty() || upload.id <= query.id_marker)) {
      continue;
    }
    uploads.push_back(std::move(upload));
  }
  find.reset();
  return uploads;
}

}  // namespace athanor::storage
