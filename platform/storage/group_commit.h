// One writer thread over one SQLite database: whatever gathers while a transaction is on its way to the device goes into
// the next, and shares its one wait.
#pragma once

#include <condition_variable>
#include <exception>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "platform/storage/sqlite.h"

namespace athanor::storage {

class GroupCommit {
 public:
  // Changes rows; throws to refuse, and then none of its changes are kept, while those of others are. May be run again
  // when the transaction around it failed.
  using Work = std::function<void(Database&)>;
  // Nothing, or why the work was refused or could not be stored. Runs on the writer thread, once the work is durable.
  using Done = std::function<void(std::exception_ptr)>;

  // `database` is the thread's from now on.
  explicit GroupCommit(std::unique_ptr<Database> database);
  // Carries out what is queued.
  ~GroupCommit();
  GroupCommit(const GroupCommit&) = delete;
  GroupCommit& operator=(const GroupCommit&) = delete;

  void submit(Work work, Done done);

 private:
  struct Item {
    Work work;
    Done done;
    std::exception_ptr refusal;
  };

  void loop();
  void commit(std::vector<Item>& batch);
  // Throws when the transaction could not be stored; refusals are in the items.
  void transact(Item* begin, Item* end);
  void keep_log_short();

  std::unique_ptr<Database> database_;  // the writer thread's
  int log_pages_ = 0;                   // the writer thread's: of the write-ahead log

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Item> queue_;  // guarded by mutex_
  bool stopping_ = false;    // guarded by mutex_
  std::thread thread_;
};

}  // namespace athanor::storage
