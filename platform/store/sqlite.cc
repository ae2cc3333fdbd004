#include "platform/store/sqlite.h"

#include "common/error.h"

namespace athanor::store {
namespace {

ErrorKind kind_of(int code) {
  switch (code & 0xFF) {
    case SQLITE_FULL: return ErrorKind::kExhausted;
    case SQLITE_NOMEM: return ErrorKind::kExhausted;
    case SQLITE_BUSY:
    case SQLITE_LOCKED: return ErrorKind::kUnavailable;
    case SQLITE_PERM:
    case SQLITE_READONLY:
    case SQLITE_CANTOPEN: return ErrorKind::kDenied;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB: return ErrorKind::kCorrupt;
    default: return ErrorKind::kInternal;
  }
}

}  // namespace

Sqlite::Sqlite(const std::string& path) : path_(path) {
  constexpr int kFlags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
  if (sqlite3_open_v2(path.c_str(), &handle_, kFlags, nullptr) != SQLITE_OK) {
    const Error error(kind_of(sqlite3_errcode(handle_)), "opening {}: {}", path, sqlite3_errmsg(handle_));
    sqlite3_close_v2(handle_);
    throw error;
  }
  sqlite3_busy_timeout(handle_, 5000);
}

Sqlite::~Sqlite() { sqlite3_close_v2(handle_); }

void Sqlite::fail(std::string_view doing) {
  const int code = sqlite3_extended_errcode(handle_);
  const char* advice = kind_of(code) == ErrorKind::kExhausted ? "; free some space on that disk" : "";
  throw Error(kind_of(code), "{} in {}: {}{}", doing, path_, sqlite3_errmsg(handle_), advice);
}

void Sqlite::run(const char* sql) {
  if (sqlite3_exec(handle_, sql, nullptr, nullptr, nullptr) != SQLITE_OK) fail(sql);
}

std::int64_t Sqlite::pragma_int(const char* sql) {
  Statement statement(*this, sql);
  return statement.step() ? statement.next_int() : 0;
}

Statement::Statement(Sqlite& database, const char* sql) : database_(database) {
  if (sqlite3_prepare_v3(database.handle(), sql, -1, SQLITE_PREPARE_PERSISTENT, &statement_, nullptr) != SQLITE_OK) {
    database.fail(sql);
  }
}

Statement::~Statement() { sqlite3_finalize(statement_); }

Statement& Statement::bind(std::int64_t value) {
  sqlite3_bind_int64(statement_, ++bound_, value);
  return *this;
}

Statement& Statement::bind(std::string_view value) {
  sqlite3_bind_text64(statement_, ++bound_, value.data() == nullptr ? "" : value.data(), value.size(), SQLITE_TRANSIENT,
                      SQLITE_UTF8);
  return *this;
}

Statement& Statement::bind(const std::optional<std::int64_t>& value) {
  if (value) return bind(*value);
  sqlite3_bind_null(statement_, ++bound_);
  return *this;
}

void Statement::run() {
  ATHANOR_ASSERT(!step());
}

bool Statement::step() {
  column_ = 0;
  bound_ = 0;
  const int code = sqlite3_step(statement_);
  if (code == SQLITE_ROW) return true;
  if (code != SQLITE_DONE) {
    try {
      database_.fail(sqlite3_sql(statement_));
    } catch (...) {
      sqlite3_reset(statement_);
      throw;
    }
  }
  sqlite3_reset(statement_);
  return false;
}

std::int64_t Statement::next_int() { return sqlite3_column_int64(statement_, column_++); }

std::string Statement::next_text() {
  const int column = column_++;
  const auto* text = reinterpret_cast<const char*>(sqlite3_column_text(statement_, column));
  return text == nullptr ? std::string() : std::string(text, sqlite3_column_bytes(statement_, column));
}

std::optional<std::int64_t> Statement::next_optional_int() {
  if (sqlite3_column_type(statement_, column_) == SQLITE_NULL) {
    ++column_;
    return std::nullopt;
  }
  return next_int();
}

}  // namespace athanor::store
