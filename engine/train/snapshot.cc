#include "engine/train/snapshot.h"

#include <algorithm>
#include <cstring>

#include "common/error.h"

namespace athanor::train {

Snapshot::Snapshot(std::vector<std::span<const char>> parts, std::span<char> room)
    : parts_(std::move(parts)), room_(room) {
  std::size_t size = 0;
  for (const std::span<const char> part : parts_) size += part.size();
  ATHANOR_ASSERT(room_.empty() || room_.size() == size);
}

void Snapshot::begin() {
  const std::lock_guard lock(mutex_);
  ATHANOR_ASSERT(state_ == State::kIdle);
  state_ = State::kInPlace;
  next_ = 0;
}

std::size_t Snapshot::place_of(const char* from, std::size_t size) const {
  std::size_t before = 0;
  for (const std::span<const char> part : parts_) {
    if (from >= part.data() && from + size <= part.data() + part.size()) {
      return before + static_cast<std::size_t>(from - part.data());
    }
    before += part.size();
  }
  assertion_failed("a snapshot is read in its parts", __FILE__, __LINE__);
}

void Snapshot::read(const char* from, std::span<char> into) {
  const std::size_t place = place_of(from, into.size());
  std::unique_lock lock(mutex_);
  ATHANOR_ASSERT(state_ != State::kIdle && place >= next_);
  next_ = place;
  const bool in_place = state_ == State::kInPlace;
  reading_ = in_place;
  lock.unlock();
  std::memcpy(into.data(), in_place ? from : room_.data() + place, into.size());
  lock.lock();
  reading_ = false;
  next_ = place + into.size();
  changed_.notify_all();
}

void Snapshot::end() {
  const std::lock_guard lock(mutex_);
  state_ = State::kIdle;
  changed_.notify_all();
}

void Snapshot::free_parts(const std::function<void(char* to, const char* from, std::size_t size)>& copy) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return state_ != State::kInPlace || (!room_.empty() && !reading_); });
  if (state_ != State::kInPlace) return;
  // The lock is kept: the writer waits at its next piece until the copies are there.
  std::size_t begin = 0;
  for (const std::span<const char> part : parts_) {
    const std::size_t skipped = std::clamp(next_, begin, begin + part.size()) - begin;
    if (skipped < part.size()) copy(room_.data() + begin + skipped, part.data() + skipped, part.size() - skipped);
    begin += part.size();
  }
  state_ = State::kCopied;
}

}  // namespace athanor::train
