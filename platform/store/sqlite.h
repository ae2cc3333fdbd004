// SQLite's C API with owners and errors: a connection, a statement. One thread at a time.
#pragma once

#include <sqlite3.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace athanor::store {

class Sqlite {
 public:
  // Opens or creates. Throws athanor::Error.
  explicit Sqlite(const std::string& path);
  ~Sqlite();
  Sqlite(const Sqlite&) = delete;
  Sqlite& operator=(const Sqlite&) = delete;

  void run(const char* sql);
  std::int64_t pragma_int(const char* sql);
  // Throws the connection's last error, as an athanor::Error of the fitting kind.
  [[noreturn]] void fail(std::string_view doing);
  sqlite3* handle() { return handle_; }

 private:
  std::string path_;
  sqlite3* handle_ = nullptr;
};

// A prepared statement, used again and again: bind in order, then run() or step() through its rows, then reset().
class Statement {
 public:
  Statement(Sqlite& database, const char* sql);
  ~Statement();
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;

  Statement& bind(std::int64_t value);
  Statement& bind(std::string_view value);
  Statement& bind(const std::optional<std::int64_t>& value);
  // For statements without rows; resets.
  void run();
  // True while there is a row; resets at the end.
  bool step();

  // Columns of the present row, from left to right.
  std::int64_t next_int();
  std::string next_text();
  std::optional<std::int64_t> next_optional_int();

 private:
  Sqlite& database_;
  sqlite3_stmt* statement_ = nullptr;
  int bound_ = 0;
  int column_ = 0;
};

}  // namespace athanor::store
