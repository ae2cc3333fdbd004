#include "engine/train/checkpoint_writer.h"

#include <sys/resource.h>

#include <cstring>
#include <system_error>
#include <utility>

#include "common/error.h"
#include "common/log.h"

namespace athanor::train {

namespace {

constexpr int kNiceness = 10;                 // of the writing thread: the steps come first
constexpr std::int64_t kCopyGrain = 1 << 20;  // bytes that a thread copies at least

std::vector<std::span<const char>> bytes_of(const TrainTensors& tensors) {
  std::vector<std::span<const char>> bytes;
  for (const tensor::Tensor& buffer : tensors.buffers) {
    bytes.emplace_back(static_cast<const char*>(buffer.data()), buffer.bytes());
  }
  return bytes;
}

}  // namespace

CheckpointWriter::CheckpointWriter(Files& files, std::string folder, const model::Config& config,
                                   const TrainInput& input, const TrainTensors& tensors, std::int64_t kept,
                                   std::span<char> room)
    : files_(files),
      folder_(std::move(folder)),
      config_(config),
      input_(input),
      tensors_(tensors),
      kept_(kept),
      snapshot_(bytes_of(tensors), room) {}

CheckpointWriter::~CheckpointWriter() {
  try {
    wait();
  } catch (const std::exception& error) {
    log::warning("train", "The last checkpoint was not written. {}", error.what());
  }
}

void CheckpointWriter::begin(const TrainState& state) {
  ATHANOR_ASSERT(!thread_.joinable());
  written_ = false;
  snapshot_.begin();
  try {
    thread_ = std::thread([this, state] { write(state); });
  } catch (const std::system_error& error) {
    snapshot_.end();
    throw Error(ErrorKind::kExhausted, "Starting a thread to write checkpoints: {}. Raise the limit of processes",
                error.what());
  }
}

void CheckpointWriter::write(const TrainState& state) {
  ::setpriority(PRIO_PROCESS, 0, kNiceness);  // of this thread alone, on Linux; without it, it is only less polite
  try {
    finished_ = {save_checkpoint(files_, folder_, config_, input_, state, tensors_, kept_, &snapshot_), state.step};
  } catch (...) {
    failure_ = std::current_exception();
  }
  snapshot_.end();
  written_ = true;
}

void CheckpointWriter::before_update(tensor::Context& context) {
  if (!thread_.joinable()) return;
  snapshot_.free_parts([&](char* to, const char* from, std::size_t size) {
    context.parallel(static_cast<std::int64_t>(size), kCopyGrain, [&](std::int64_t begin, std::int64_t end, int) {
      std::memcpy(to + begin, from + begin, static_cast<std::size_t>(end - begin));
    });
  });
}

std::optional<CheckpointWriter::Finished> CheckpointWriter::poll() {
  if (!thread_.joinable() || !written_) return std::nullopt;
  thread_.join();
  if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
  return finished_;
}

std::optional<CheckpointWriter::Finished> CheckpointWriter::wait() {
  if (!thread_.joinable()) return std::nullopt;
  thread_.join();
  if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
  return finished_;
}

}  // namespace athanor::train
