// How objects lie in the database: the schema, and rows to values and back.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "platform/storage/object_store.h"
#include "platform/store/sqlite.h"

namespace athanor::storage {

using store::Database;
using store::Statement;

// Creates the schema when absent. Throws kCorrupt when the file is not ours, kInvalid when a newer program wrote it.
void prepare_object_schema(Database& database);

std::string encode_headers(const ObjectHeaders& headers);
ObjectHeaders decode_headers(std::string_view bytes);
std::string encode_parts(const std::vector<ObjectPart>& parts);
std::vector<ObjectPart> decode_parts(std::string_view bytes);

// The number of a bucket's row; throws kNoSuchBucket.
std::int64_t bucket_number(Database& database, std::string_view name);

// An object's row, and which body it has.
struct ObjectRow {
  ObjectInfo info;
  std::uint64_t body = 0;
};
// Nothing when there is none. With everything but the body.
std::optional<ObjectRow> find_object(Database& database, std::int64_t bucket, std::string_view key);
StoreError no_such_key(std::string_view key);

}  // namespace athanor::storage
