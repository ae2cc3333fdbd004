// Checkpoints written while training goes on: a thread of its own hashes, writes and syncs what snapshot.h holds still
// for it. checkpoint.h says what is written and what a crash leaves. One is in flight at most.
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <optional>
#include <string>
#include <thread>

#include "common/files.h"
#include "engine/tensor/context.h"
#include "engine/train/checkpoint.h"
#include "engine/train/snapshot.h"

namespace athanor::train {

class CheckpointWriter {
 public:
  struct Finished {
    std::string name;  // below the folder
    std::int64_t step = 0;
    bool operator==(const Finished&) const = default;
  };

  // `room` holds as many bytes as `tensors`, or none; both, and all references, outlive the writer.
  CheckpointWriter(Files& files, std::string folder, const model::Config& config, const TrainInput& input,
                   const TrainTensors& tensors, std::int64_t kept, std::span<char> room);
  // Waits for what is in flight; an error that nobody has asked for goes to the log.
  ~CheckpointWriter();
  CheckpointWriter(const CheckpointWriter&) = delete;
  CheckpointWriter& operator=(const CheckpointWriter&) = delete;

  // Begins to write `state` and the tensors as they are now. None may be in flight.
  void begin(const TrainState& state);
  // Call before the tensors change: returns when the writer does not need them where they are.
  void before_update(tensor::Context& context);
  // The checkpoint that has become durable since the last call, if any. Throws what stopped its writing, once.
  std::optional<Finished> poll();
  // The same, after waiting for what is in flight.
  std::optional<Finished> wait();

 private:
  void write(const TrainState& state);

  Files& files_;
  const std::string folder_;
  const model::Config& config_;
  const TrainInput& input_;
  const TrainTensors tensors_;
  const std::int64_t kept_;
  Snapshot snapshot_;
  std::thread thread_;                 // joinable: one is in flight, or has not been asked for
  std::atomic<bool> written_ = false;  // by the thread, last; what follows is then the owner's
  Finished finished_;
  std::exception_ptr failure_;
};

}  // namespace athanor::train
