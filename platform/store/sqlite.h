// SQLite with owners and errors: a connection and its statements, for the rows of jobs here and those of objects in
// platform/storage. One thread at a time.
#pragma once

#include <sqlite3.h>

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace athanor::store {

class Statement;

class Database {
 public:
  enum class Mode { kReadWrite, kReadOnly };

  // Read-write creates what is absent. Throws athanor::Error.
  Database(const std::string& path, Mode mode);
  ~Database();
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  // Statements without parameters or rows that matter.
  void run(const char* sql);
  std::int64_t query_int(const char* sql);
  // The statement of this text, prepared once, reset and without bindings. `sql` is a literal: its address is its name.
  Statement& prepared(const char* sql);
  // Whether the last statement changed a row.
  std::int64_t changes() const { return sqlite3_changes64(handle_); }
  // Throws the connection's last error, as the kind that fits: kExhausted for a full disk, kCorrupt for damage.
  [[noreturn]] void fail(const char* doing);
  sqlite3* handle() { return handle_; }
  const std::string& path() const { return path_; }

 private:
  const std::string path_;
  sqlite3* handle_ = nullptr;
  std::map<const char*, std::unique_ptr<Statement>> statements_;
};

// Bind in order, then run(), or step() through rows and read columns from left to right.
class Statement {
 public:
  Statement(Database& database, const char* sql);
  ~Statement();
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;

  Statement& integer(std::int64_t value);
  // The bytes must live until the statement is reset.
  Statement& text(std::string_view value);
  Statement& blob(std::string_view value);
  Statement& null();
  Statement& integer_or_null(std::optional<std::int64_t> value);

  void run();
  // True while there is a row.
  bool step();
  void reset();

  std::int64_t next_integer();
  std::string next_bytes();  // text or blob
  std::optional<std::int64_t> next_integer_or_null();

 private:
  void check(int code);

  Database& database_;
  sqlite3_stmt* statement_ = nullptr;
  int bound_ = 0;
  int column_ = 0;
};

}  // namespace athanor::store
