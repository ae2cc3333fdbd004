#include "platform/store/sqlite.h"

#include "common/error.h"

namespace athanor::store {

namespace {

ErrorKind kind_of(int code) {
  switch (code & 0xff) {
    case SQLITE_FULL:
    case SQLITE_NOMEM: return ErrorKind::kExhausted;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB: return ErrorKind::kCorrupt;
    case SQLITE_PERM:
    case SQLITE_READONLY: return ErrorKind::kDenied;
    case SQLITE_IOERR:
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_CANTOPEN: return ErrorKind::kUnavailable;
    default: return ErrorKind::kInternal;
  }
}

}  // namespace

Database::Database(const std::string& path, Mode mode) : path_(path) {
  const int flags = SQLITE_OPEN_NOMUTEX |
                    (mode == Mode::kReadOnly ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE);
  if (sqlite3_open_v2(path.c_str(), &handle_, flags, nullptr) != SQLITE_OK) {
    const std::string reason = handle_ != nullptr ? sqlite3_errmsg(handle_) : "out of memory";
    sqlite3_close(handle_);
    throw Error(ErrorKind::kUnavailable, "opening the database {}: {}", path, reason);
  }
  sqlite3_extended_result_codes(handle_, 1);
  sqlite3_busy_timeout(handle_, 10'000);
}

Database::~Database() {
  statements_.clear();
  sqlite3_close(handle_);
}

void Database::run(const char* sql) {
  if (sqlite3_exec(handle_, sql, nullptr, nullptr, nullptr) != SQLITE_OK) fail(sql);
}

std::int64_t Database::query_int(const char* sql) {
  Statement statement(*this, sql);
  return statement.step() ? statement.next_integer() : 0;
}

Statement& Database::prepared(const char* sql) {
  auto& statement = statements_[sql];
  if (!statement) statement = std::make_unique<Statement>(*this, sql);
  statement->reset();
  return *statement;
}

void Database::fail(const char* doing) {
  const int code = sqlite3_errcode(handle_);
  throw Error(kind_of(code), "{}: {}: {}{}", path_, doing, sqlite3_errmsg(handle_),
              (code & 0xff) == SQLITE_FULL ? "; free space on its file system" : "");
}

Statement::Statement(Database& database, const char* sql) : database_(database) {
  if (sqlite3_prepare_v3(database.handle(), sql, -1, SQLITE_PREPARE_PERSISTENT, &statement_, nullptr) != SQLITE_OK) {
    database.fail(sql);
  }
}

Statement::~Statement() { sqlite3_finalize(statement_); }

void Statement::check(int code) {
  if (code != SQLITE_OK) database_.fail(sqlite3_sql(statement_));
}

Statement& Statement::integer(std::int64_t value) {
  check(sqlite3_bind_int64(statement_, ++bound_, value));
  return *this;
}

Statement& Statement::text(std::string_view value) {
  check(sqlite3_bind_text64(statement_, ++bound_, value.data() != nullptr ? value.data() : "", value.size(),
                            SQLITE_STATIC, SQLITE_UTF8));
  return *this;
}

Statement& Statement::blob(std::string_view value) {
  check(sqlite3_bind_blob64(statement_, ++bound_, value.data() != nullptr ? value.data() : "", value.size(),
                            SQLITE_STATIC));
  return *this;
}

Statement& Statement::null() {
  check(sqlite3_bind_null(statement_, ++bound_));
  return *this;
}

Statement& Statement::integer_or_null(std::optional<std::int64_t> value) { return value ? integer(*value) : null(); }

void Statement::run() {
  while (step()) {
  }
}

bool Statement::step() {
  column_ = 0;
  const int code = sqlite3_step(statement_);
  if (code == SQLITE_ROW) return true;
  if (code != SQLITE_DONE) database_.fail(sqlite3_sql(statement_));
  reset();
  return false;
}

void Statement::reset() {
  sqlite3_reset(statement_);  // repeats the error of the step before, which was thrown
  sqlite3_clear_bindings(statement_);
  bound_ = 0;
}

std::int64_t Statement::next_integer() { return sqlite3_column_int64(statement_, column_++); }

std::optional<std::int64_t> Statement::next_integer_or_null() {
  const bool is_null = sqlite3_column_type(statement_, column_) == SQLITE_NULL;
  const std::int64_t value = next_integer();
  return is_null ? std::nullopt : std::optional(value);
}

std::string Statement::next_bytes() {
  const auto* bytes = static_cast<const char*>(sqlite3_column_blob(statement_, column_));
  const auto size = static_cast<std::size_t>(sqlite3_column_bytes(statement_, column_));
  ++column_;
  return bytes != nullptr ? std::string(bytes, size) : std::string();
}

}  // namespace athanor::store
