// Jobs, instances and keys as rows: the schema, and both directions of the mapping.
#pragma once

#include "platform/store/sqlite.h"
#include "platform/store/store.h"

namespace athanor::store {

inline constexpr std::int64_t kSchemaVersion = 1;
inline constexpr std::int64_t kApplicationId = 0x4154484E;  // "ATHN"

// Makes the tables of kSchemaVersion in an empty database, and leaves one of that version alone. Throws kInvalid for a
// newer one, kCorrupt for what is not ours.
void prepare_schema(Sqlite& database, const std::string& path);

// The statements of one connection, prepared once.
class Rows {
 public:
  explicit Rows(Sqlite& database);
  void apply(const Changes& changes);
  Contents load();

 private:
  void put(const control::JobRecord& record);
  void put(const Key& key);

  Statement put_job_, drop_instances_, put_instance_, remove_job_, put_key_, end_keys_, put_setting_;
  Statement all_jobs_, all_instances_, all_keys_, all_settings_;
};

}  // namespace athanor::store
