#include "platform/store/store.h"

#include <algorithm>
#include <atomic>

#include "common/disk_reserve.h"
#include "platform/store/folder_lock.h"
#include "platform/store/group_commit.h"
#include "platform/store/rows.h"

namespace athanor::store {
namespace {

class SqliteStore final : public Store {
 public:
  SqliteStore(const std::string& folder, Files& files) : lock_(folder), path_(folder + "/athanor.db") {
    auto database = std::make_unique<Database>(path_, Database::Mode::kReadWrite);
    database->run("PRAGMA journal_mode = WAL");
    database->run("PRAGMA synchronous = FULL");
    database->run("PRAGMA foreign_keys = ON");
    prepare_schema(*database);
    stored_sequence_ = last_sequence(*database);
    writer_ =
        std::make_unique<GroupCommit>(std::move(database), std::make_unique<DiskReserve>(folder + "/reserve", files));
  }

  Contents load() override {
    Database reader(path_, Database::Mode::kReadOnly);
    reader.run("BEGIN");  // all of one moment
    return store::load(reader);
  }

  void save(Changes changes, Done done) override {
    std::int64_t highest = 0;
    for (const auto& record : changes.jobs) highest = std::max(highest, record.job.sequence);
    // A full disk takes no new jobs; those that it has use the reserve, so that they can end.
    const auto kind = highest > stored_sequence_ ? GroupCommit::Kind::kAdds : GroupCommit::Kind::kRemoves;
    writer_->submit(
        kind, [changes = std::move(changes)](Database& database) { apply(database, changes); },
        [this, highest, done = std::move(done)](std::exception_ptr error) {
          if (!error) stored_sequence_ = std::max<std::int64_t>(stored_sequence_, highest);
          done(error);
        });
  }

 private:
  FolderLock lock_;
  const std::string path_;
  std::atomic<std::int64_t> stored_sequence_ = 0;  // the highest of a job that was stored; the writer thread raises it
  std::unique_ptr<GroupCommit> writer_;            // last: ends first, while the rest still stands
};

}  // namespace

std::unique_ptr<Store> Store::open(const std::string& folder, Files& files) {
  files.make_folders(folder, 0700);
  return std::make_unique<SqliteStore>(folder, files);
}

}  // namespace athanor::store
