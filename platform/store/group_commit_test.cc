#include "platform/store/group_commit.h"

#include <gtest/gtest.h>

#include <future>

#include "common/error.h"
#include "common/temporary_folder.h"

namespace athanor::store {
namespace {

class GroupCommitTest : public testing::Test {
 protected:
  std::unique_ptr<Database> database() {
    auto database = std::make_unique<Database>(folder_ / "x.db", Database::Mode::kReadWrite);
    database->run("PRAGMA journal_mode = WAL");
    database->run("CREATE TABLE IF NOT EXISTS t (x INTEGER UNIQUE)");
    return database;
  }
  std::int64_t rows() {
    return Database(folder_ / "x.db", Database::Mode::kReadOnly).query_int("SELECT count(*) FROM t");
  }
  static void insert(Database& database, std::int64_t x) {
    database.prepared("INSERT INTO t VALUES (?)").integer(x).run();
  }
  static void wait(GroupCommit& writer, GroupCommit::Kind kind, GroupCommit::Work work) {
    std::promise<void> done;
    writer.submit(kind, std::move(work),
                  [&](std::exception_ptr error) { error ? done.set_exception(error) : done.set_value(); });
    done.get_future().get();
  }

  const TemporaryFolder folder_;
  SystemFiles files_;
};

TEST_F(GroupCommitTest, RefusedWorkLeavesNothingOfItsOwnAndAllOfOthers) {
  GroupCommit writer(database(), std::make_unique<DiskReserve>(folder_ / "reserve", files_));
  for (int i = 0; i < 100; ++i) {
    writer.submit(
        GroupCommit::Kind::kAdds, [i](Database& to) { insert(to, i); }, [](std::exception_ptr) {});
  }
  const auto twice = [](Database& to) {
    insert(to, 1000);
    insert(to, 5);  // there already
  };
  EXPECT_THROW(wait(writer, GroupCommit::Kind::kAdds, twice), Error);
  EXPECT_EQ(rows(), 100);
}

TEST_F(GroupCommitTest, WithoutAReserveNothingIsAdded) {
  GroupCommit writer(database(), std::make_unique<DiskReserve>(folder_ / "no folder/reserve", files_));
  try {
    wait(writer, GroupCommit::Kind::kAdds, [](Database& to) { insert(to, 1); });
    ADD_FAILURE() << "not refused";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kExhausted);
    EXPECT_NE(std::string(error.what()).find(folder_ / "x.db"), std::string::npos) << error.what();
  }
  wait(writer, GroupCommit::Kind::kRemoves, [](Database& to) { insert(to, 2); });
  EXPECT_EQ(rows(), 1);
}

}  // namespace
}  // namespace athanor::store
