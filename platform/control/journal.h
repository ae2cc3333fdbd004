// Holds actions back until the transition that caused them is stored, and gathers what happens meanwhile into one
// commit. Pure, like the machine inside it: the driver (or the simulator) does the storing.
//
//   feed(event) … → next() gives a batch → store it → committed() gives the actions to run
//                                        ↘ failed(): new submissions in it are withdrawn, the rest comes again
//
// One batch is out at a time. Not for several threads.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <vector>

#include "platform/control/machine.h"

namespace athanor::control {

class Journal {
 public:
  struct Batch {
    std::vector<JobRecord> records;  // each whole, as it shall be stored; those of one batch together or not at all
  };

  explicit Journal(Machine machine) : machine_(std::move(machine)) {}

  void feed(const Event& event, Now now);
  // What is to be stored next; nothing while a batch is out, or when nothing has changed.
  std::optional<Batch> next();
  // The batch is durable. Returns the actions that may now run, in order.
  std::vector<Action> committed();
  // The batch is not stored. Returns the jobs that were submitted in it: they are withdrawn, and no action of theirs
  // will run. Everything else waits for the next batch.
  std::vector<std::int64_t> failed(Now now);
  // Actions that wait for nothing: there are some when an event led to actions and changed no record.
  std::vector<Action> ready();

  const Machine& machine() const { return machine_; }

 private:
  void take(Outcome outcome);

  Machine machine_;
  std::set<std::int64_t> changed_;              // live records to be stored
  std::map<std::int64_t, JobRecord> finished_;  // records that are over, to be stored
  std::set<std::int64_t> submitted_;            // of these, never stored so far
  std::vector<Action> actions_;                 // to run after the next batch
  bool out_ = false;
  Batch batch_;                        // what is out
  std::vector<Action> batch_actions_;  // to run when it is durable
};

}  // namespace athanor::control
