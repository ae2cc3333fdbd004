#include "platform/store/group_commit.h"

#include <algorithm>

#include "common/error.h"
#include "common/log.h"

namespace athanor::store {

namespace {

constexpr std::size_t kBatchMax = 1024;
// Pages of the write-ahead log after which it is copied into the database.
constexpr int kLogPagesMax = 4096;

Error no_reserve(const std::string& path) {
  return Error(ErrorKind::kExhausted, "storing a change in {}: the disk is full; free space on its file system", path);
}

}  // namespace

GroupCommit::GroupCommit(std::unique_ptr<Database> database, std::unique_ptr<DiskReserve> reserve)
    : database_(std::move(database)), reserve_(std::move(reserve)) {
  sqlite3_wal_hook(
      database_->handle(),
      [](void* self, sqlite3*, const char*, int pages) {
        static_cast<GroupCommit*>(self)->log_pages_ = pages;
        return SQLITE_OK;
      },
      this);
  thread_ = std::thread([this] { loop(); });
}

GroupCommit::~GroupCommit() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_one();
  thread_.join();
}

void GroupCommit::submit(Kind kind, Work work, Done done) {
  {
    const std::lock_guard lock(mutex_);
    queue_.push_back({kind, std::move(work), std::move(done), nullptr});
    if (queue_.size() > 1) return;
  }
  changed_.notify_one();
}

void GroupCommit::loop() {
  std::vector<Item> batch;
  for (;;) {
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
      if (queue_.empty()) return;
      batch.swap(queue_);
    }
    for (std::size_t from = 0; from < batch.size(); from += kBatchMax) {
      const std::size_t to = std::min(batch.size(), from + kBatchMax);
      std::vector<Item> piece(std::make_move_iterator(batch.begin() + static_cast<std::ptrdiff_t>(from)),
                              std::make_move_iterator(batch.begin() + static_cast<std::ptrdiff_t>(to)));
      commit(piece);
    }
    batch.clear();
    keep_log_short();
  }
}

void GroupCommit::commit(std::vector<Item>& batch) {
  bool together = reserve_->hold();
  try {
    if (together) transact(batch.data(), batch.data() + batch.size());
  } catch (...) {
    // Together they could not be stored. Alone some may be: a disk too full for all may have room for a few.
    copy_log();  // so that the log's file is written from its beginning again, which needs no room
    together = false;
  }
  if (!together) {
    for (Item& item : batch) commit_alone(item);
  }
  for (Item& item : batch) item.done(item.refusal);
}

void GroupCommit::commit_alone(Item& item) {
  try {
    if (!reserve_->hold() && item.kind == Kind::kAdds) throw no_reserve(database_->path());
    transact(&item, &item + 1);
    return;
  } catch (...) {
    item.refusal = std::current_exception();
  }
  if (item.kind == Kind::kAdds) return;
  reserve_->release();  // the log is not copied now: that would use up the room
  try {
    transact(&item, &item + 1);
  } catch (...) {
    item.refusal = std::current_exception();
  }
}

void GroupCommit::transact(Item* begin, Item* end) {
  database_->run("BEGIN IMMEDIATE");
  try {
    for (Item* item = begin; item != end; ++item) {
      item->refusal = nullptr;
      database_->prepared("SAVEPOINT item").run();
      try {
        item->work(*database_);
        database_->prepared("RELEASE item").run();
      } catch (...) {
        if (sqlite3_get_autocommit(database_->handle()) != 0) throw;  // SQLite gave up the whole transaction
        item->refusal = std::current_exception();
        database_->prepared("ROLLBACK TO item").run();
        database_->prepared("RELEASE item").run();
      }
    }
    database_->run("COMMIT");
  } catch (...) {
    if (sqlite3_get_autocommit(database_->handle()) == 0) {
      sqlite3_exec(database_->handle(), "ROLLBACK", nullptr, nullptr, nullptr);
    }
    throw;
  }
}

void GroupCommit::keep_log_short() {
  if (log_pages_ >= kLogPagesMax) copy_log();
}

void GroupCommit::copy_log() {
  int all = 0;
  int copied = 0;
  const int code = sqlite3_wal_checkpoint_v2(database_->handle(), nullptr, SQLITE_CHECKPOINT_PASSIVE, &all, &copied);
  // Not copying is no loss: everything is in the log still. It is tried again when as much has gathered again.
  log_pages_ = code == SQLITE_OK && copied == all ? 0 : std::max(0, log_pages_ - kLogPagesMax);
  if (code != SQLITE_OK) log::warning("store", "copying the write-ahead log: {}", sqlite3_errmsg(database_->handle()));
}

}  // namespace athanor::store
