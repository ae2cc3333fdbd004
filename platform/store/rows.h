// Jobs, instances and keys as rows: the schema, and both directions of the mapping.
#pragma once

#include "platform/store/sqlite.h"
#include "platform/store/store.h"

namespace athanor::store {

inline constexpr std::int64_t kSchemaVersion = 1;
inline constexpr std::int64_t kApplicationId = 0x4154484E;  // "ATHN"

// Makes the tables of kSchemaVersion in an empty database, and leaves one of that version alone. Throws kInvalid for a
// newer one, kCorrupt for what is not ours.
void prepare_schema(Database& database);

// Within a transaction.
void apply(Database& database, const Changes& changes);
Contents load(Database& database);
// The highest job sequence ever stored; 0: none.
std::int64_t last_sequence(Database& database);

}  // namespace athanor::store
