// Several reads of one state of the database, whatever is committed meanwhile.
#pragma once

#include "platform/store/sqlite.h"

namespace athanor::storage {

// The state is that of the first read. One thread; the database outlives it.
class ReadTransaction {
 public:
  explicit ReadTransaction(store::Database& database) : database_(database) { database_.prepared("BEGIN").run(); }
  ~ReadTransaction() { sqlite3_exec(database_.handle(), "COMMIT", nullptr, nullptr, nullptr); }
  ReadTransaction(const ReadTransaction&) = delete;
  ReadTransaction& operator=(const ReadTransaction&) = delete;

 private:
  store::Database& database_;
};

}  // namespace athanor::storage
