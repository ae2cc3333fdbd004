#include "platform/store/store.h"

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "common/disk_reserve.h"
#include "common/error.h"
#include "common/files.h"
#include "platform/store/folder_lock.h"
#include "platform/store/rows.h"

namespace athanor::store {
namespace {

constexpr const char* kLastSequence = "last_sequence";
constexpr std::size_t kCallsPerCommitMax = 1024;

class SqliteStore final : public Store {
 public:
  explicit SqliteStore(const std::string& folder)
      : lock_(folder),
        path_(folder + "/athanor.db"),
        reserve_(folder + "/reserve", files_),
        database_(path_),
        rows_(prepared()) {
    writer_ = std::thread([this] { write_loop(); });
  }

  ~SqliteStore() override {
    {
      const std::lock_guard hold(mutex_);
      closing_ = true;
    }
    wake_.notify_one();
    writer_.join();
  }

  Contents load() override {
    const std::lock_guard hold(database_mutex_);
    Contents contents = rows_.load();
    for (const auto& record : contents.jobs) {
      contents.last_sequence = std::max(contents.last_sequence, record.job.sequence);
    }
    if (const auto it = contents.settings.find(kLastSequence); it != contents.settings.end()) {
      contents.last_sequence = std::max<std::int64_t>(contents.last_sequence, std::stoll(it->second));
    }
    last_sequence_ = stored_sequence_ = contents.last_sequence;
    return contents;
  }

  void save(Changes changes, Done done) override {
    {
      const std::lock_guard hold(mutex_);
      ATHANOR_ASSERT(!closing_);
      queue_.push_back({std::move(changes), std::move(done), nullptr});
    }
    wake_.notify_one();
  }

 private:
  struct Call {
    Changes changes;
    Done done;
    std::exception_ptr error;
  };

  Sqlite& prepared() {
    database_.run("PRAGMA journal_mode = WAL");
    database_.run("PRAGMA synchronous = FULL");
    database_.run("PRAGMA foreign_keys = ON");
    prepare_schema(database_, path_);
    return database_;
  }

  void write_loop() {
    for (;;) {
      std::vector<Call> calls;
      {
        std::unique_lock hold(mutex_);
        wake_.wait(hold, [this] { return closing_ || !queue_.empty(); });
        if (queue_.empty()) return;
        const auto count = static_cast<std::ptrdiff_t>(std::min(queue_.size(), kCallsPerCommitMax));
        calls.assign(std::make_move_iterator(queue_.begin()), std::make_move_iterator(queue_.begin() + count));
        queue_.erase(queue_.begin(), queue_.begin() + count);
      }
      commit(calls);
      for (Call& call : calls) call.done(call.error);
    }
  }

  void commit(std::vector<Call>& calls) {
    const std::lock_guard hold(database_mutex_);
    if (reserve_.hold() && !commit_once(calls.begin(), calls.end())) return;
    // One of them spoils the transaction for all, or the disk is too full for all: each alone.
    for (auto it = calls.begin(); it != calls.end(); ++it) commit_alone(it);
  }

  // A full disk takes no new jobs; those that it has use the reserve, so that they can end.
  void commit_alone(std::vector<Call>::iterator call) {
    const bool has_new_jobs = std::any_of(call->changes.jobs.begin(), call->changes.jobs.end(),
                                          [this](const auto& record) { return record.job.sequence > stored_sequence_; });
    if (!reserve_.hold() && has_new_jobs) {
      call->error = std::make_exception_ptr(
          Error(ErrorKind::kExhausted, "storing a job in {}: the disk is full; free some space on that disk", path_));
      return;
    }
    if (!commit_once(call, call + 1) || has_new_jobs) return;
    reserve_.release();
    commit_once(call, call + 1);
  }

  // Gives every call the error of the transaction, or none. Returns whether there was one.
  bool commit_once(std::vector<Call>::iterator begin, std::vector<Call>::iterator end) {
    std::exception_ptr error;
    try {
      database_.run("BEGIN IMMEDIATE");
      for (auto it = begin; it != end; ++it) {
        for (const auto& record : it->changes.jobs) {
          if (record.job.sequence <= last_sequence_) continue;
          last_sequence_ = record.job.sequence;  // numbers of removed jobs are not used again either
          it->changes.settings[kLastSequence] = std::to_string(last_sequence_);
        }
        rows_.apply(it->changes);
      }
      database_.run("COMMIT");
      for (auto it = begin; it != end; ++it) {
        for (const auto& record : it->changes.jobs) {
          stored_sequence_ = std::max(stored_sequence_, record.job.sequence);
        }
      }
    } catch (...) {
      error = std::current_exception();
      if (sqlite3_get_autocommit(database_.handle()) == 0) {
        sqlite3_exec(database_.handle(), "ROLLBACK", nullptr, nullptr, nullptr);
      }
    }
    for (auto it = begin; it != end; ++it) it->error = error;
    return error != nullptr;
  }

  FolderLock lock_;
  const std::string path_;
  SystemFiles files_;
  std::mutex database_mutex_;  // guards the next five, between load() and the writer
  DiskReserve reserve_;
  Sqlite database_;
  Rows rows_;
  std::int64_t last_sequence_ = 0;    // the highest that was given to a job
  std::int64_t stored_sequence_ = 0;  // the highest of a job that was stored
  std::mutex mutex_;  // guards the next three
  std::condition_variable wake_;
  std::vector<Call> queue_;
  bool closing_ = false;
  std::thread writer_;
};

}  // namespace

std::unique_ptr<Store> Store::open(const std::string& folder) {
  SystemFiles files;
  files.make_folders(folder, 0700);
  return std::make_unique<SqliteStore>(folder);
}

}  // namespace athanor::store
