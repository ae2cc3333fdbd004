#include "engine/train/snapshot.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <span>
#include <string>
#include <thread>

#include "common/random.h"

namespace athanor::train {
namespace {

void copy_plainly(char* to, const char* from, std::size_t size) { std::memcpy(to, from, size); }

// Two parts, and what a writer has read of them.
struct Parts {
  std::string first = std::string(1000, 'a'), second = std::string(3000, 'b');
  std::string room = std::string(4000, '?');
  std::vector<std::span<const char>> spans() const { return {first, second}; }
};

std::string read(Snapshot& from, std::span<const char> part, std::size_t first, std::size_t size) {
  std::string into(size, ' ');
  from.read(part.data() + first, into);
  return into;
}

TEST(Snapshot, IsReadInPlaceUntilItsPartsAreChanged) {
  Parts parts;
  Snapshot snapshot(parts.spans(), parts.room);
  snapshot.free_parts([](char*, const char*, std::size_t) { FAIL() << "nobody reads"; });
  for (int round = 0; round < 2; ++round) {
    const std::string a(1, parts.first[0]), b(1, parts.second[0]);
    snapshot.begin();
    EXPECT_EQ(read(snapshot, parts.first, 0, 600), std::string(600, a[0]));
    std::size_t copied = 0;
    const auto copy = [&](char* to, const char* from, std::size_t size) {
      copied += size;
      std::memcpy(to, from, size);
    };
    snapshot.free_parts(copy);
    EXPECT_EQ(copied, 3400U);  // but for what was read
    parts.first.assign(1000, static_cast<char>('A' + round));
    parts.second.assign(3000, static_cast<char>('M' + round));
    snapshot.free_parts([](char*, const char*, std::size_t) { FAIL() << "free already"; });
    EXPECT_EQ(read(snapshot, parts.first, 600, 400), std::string(400, a[0]));
    EXPECT_EQ(read(snapshot, parts.second, 500, 2500), std::string(2500, b[0]));
    snapshot.end();
    snapshot.free_parts([](char*, const char*, std::size_t) { FAIL() << "nobody reads"; });
  }
}

TEST(Snapshot, WithoutRoomTheOwnerWaitsForTheWriter) {
  Parts parts;
  Snapshot snapshot(parts.spans(), {});
  snapshot.begin();
  std::string seen;
  std::thread writer([&] {
    for (std::size_t at = 0; at < 1000; at += 100) {
      seen += read(snapshot, parts.first, at, 100);
      std::this_thread::yield();
    }
    snapshot.end();
  });
  snapshot.free_parts(copy_plainly);
  parts.first.assign(1000, 'x');
  writer.join();
  EXPECT_EQ(seen, std::string(1000, 'a'));
}

TEST(Snapshot, HoldsOneMomentWheneverTheOwnerComes) {
  SeededRandom random(1);
  for (int round = 0; round < 200; ++round) {
    Parts parts;
    Snapshot snapshot(parts.spans(), round % 3 ? std::span<char>(parts.room) : std::span<char>());
    snapshot.begin();
    std::string seen;
    const std::size_t piece = 1 + random.below(700);
    // The bytes alone: a string's own length is written by whoever assigns to it.
    std::thread writer([&, spans = parts.spans()] {
      for (const std::span<const char> part : spans) {
        for (std::size_t at = 0; at < part.size(); at += piece) {
          seen += read(snapshot, part, at, std::min(piece, part.size() - at));
        }
      }
      snapshot.end();
    });
    for (std::uint64_t wait = random.below(3000); wait > 0; --wait) std::atomic_signal_fence(std::memory_order_seq_cst);
    for (int update = 0; update < 3; ++update) {
      snapshot.free_parts(copy_plainly);
      parts.first.assign(1000, static_cast<char>('0' + update));
      parts.second.assign(3000, static_cast<char>('5' + update));
    }
    writer.join();
    ASSERT_EQ(seen, std::string(1000, 'a') + std::string(3000, 'b')) << round;
  }
}

}  // namespace
}  // namespace athanor::train
