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

#include "common/disk_reserve.h"
#include "platform/store/sqlite.h"

namespace athanor::store {

class GroupCommit {
 public:
  // Changes rows; throws to refuse, and then none of its changes are kept, while those of others are. May be run again
  // when the transaction around it failed.
  using Work = std::function<void(Database&)>;
  // Nothing, or why the work was refused or could not be stored. Runs on the writer thread, once the work is durable.
  using Done = std::function<void(std::exception_ptr)>;

  // kRemoves: work that gives room back in the end (removes an object, brings a job nearer to its end); on a full disk it
  // may use the reserve, and nothing else is begun before there is a reserve again.
  enum class Kind { kAdds, kRemoves };

  // Both are the thread's from now on.
  GroupCommit(std::unique_ptr<Database> database, std::unique_ptr<DiskReserve> reserve);
  // Carries out what is queued.
  ~GroupCommit();
  GroupCommit(const GroupCommit&) = delete;
  GroupCommit& operator=(const GroupCommit&) = delete;

  void submit(Kind kind, Work work, Done done);

 private:
  struct Item {
    Kind kind;
    Work work;
    Done done;
    std::exception_ptr refusal;
  };

  void loop();
  void commit(std::vector<Item>& batch);
  // Throws when the transaction could not be stored; refusals are in the items.
  void transact(Item* begin, Item* end);
  // Carries out one item, if need be with the reserve's room. Never throws.
  void commit_alone(Item& item);
  void keep_log_short();
  void copy_log();

  std::unique_ptr<Database> database_;    // the writer thread's
  std::unique_ptr<DiskReserve> reserve_;  // the writer thread's
  int log_pages_ = 0;                     // the writer thread's: of the write-ahead log

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Item> queue_;  // guarded by mutex_
  bool stopping_ = false;    // guarded by mutex_
  std::thread thread_;
};

}  // namespace athanor::store
