// Listing keys: in the order of their bytes, with groups skipped over by seeking instead of reading.
#include "platform/storage/embedded_store.h"
#include "platform/storage/read_transaction.h"

namespace athanor::storage {

namespace {

// The first string after all that start with `prefix`; empty when there is none.
std::string after_prefix(std::string prefix) {
  while (!prefix.empty() && static_cast<unsigned char>(prefix.back()) == 255) prefix.pop_back();
  if (!prefix.empty()) prefix.back() = static_cast<char>(static_cast<unsigned char>(prefix.back()) + 1);
  return prefix;
}

}  // namespace

Listing EmbeddedStore::list(const std::string& bucket, const ListQuery& query) {
  auto reader = readers_.take();
  Database& database = *reader;
  const ReadTransaction one_view(database);
  const std::int64_t number = bucket_number(database, bucket);
  Listing listing;
  if (query.count_max == 0) return listing;

  Statement& from = database.prepared(
      "SELECT key, size, modified_ms, etag, algorithm, type, checksum, checksum_parts FROM objects "
      "WHERE bucket = ? AND key >= ? ORDER BY key");
  // The smallest key that may come next.
  std::string seek = std::max(query.prefix, query.start_after);
  const auto start = [&] {
    from.reset();
    from.integer(number).blob(seek);
  };
  // A page that ended with a group goes on behind all of it.
  if (!query.delimiter.empty() && query.start_after.size() > query.prefix.size() &&
      query.start_after.starts_with(query.prefix) && query.start_after.ends_with(query.delimiter)) {
    seek = after_prefix(query.start_after);
    if (seek.empty()) return listing;
  }
  start();
  while (from.step()) {
    ObjectInfo info;
    info.key = from.next_bytes();
    if (!info.key.starts_with(query.prefix)) break;
    if (!query.start_after.empty() && info.key == query.start_after) continue;
    const auto cut = query.delimiter.empty() ? std::string::npos : info.key.find(query.delimiter, query.prefix.size());
    if (listing.objects.size() + listing.groups.size() == query.count_max) {
      listing.truncated = true;
      break;
    }
    if (cut != std::string::npos) {
      std::string group = info.key.substr(0, cut + query.delimiter.size());
      listing.last = group;
      seek = after_prefix(group);
      listing.groups.push_back(std::move(group));
      if (seek.empty()) break;
      start();
      continue;
    }
    info.size = static_cast<std::uint64_t>(from.next_integer());
    info.modified_ms = from.next_integer();
    info.etag = from.next_bytes();
    info.checksum.algorithm = static_cast<ChecksumAlgorithm>(from.next_integer());
    info.checksum.type = static_cast<ChecksumType>(from.next_integer());
    info.checksum.value = from.next_bytes();
    info.checksum.parts = static_cast<std::uint32_t>(from.next_integer());
    listing.last = info.key;
    listing.objects.push_back(std::move(info));
  }
  from.reset();
  return listing;
}

}  // namespace athanor::storage
