#include "engine/parallel/data_parallel.h"

#include <gtest/gtest.h>

#include <vector>

#include "engine/parallel/thread_group.h"

namespace athanor::parallel {
namespace {

TEST(Share, CoversEverythingOnceAndEvenly) {
  for (std::int64_t count = 0; count < 20; ++count) {
    for (int size = 1; size < 8; ++size) {
      std::int64_t at = 0;
      for (int rank = 0; rank < size; ++rank) {
        const Share share = share_of(count, rank, size);
        EXPECT_EQ(share.begin, at);
        EXPECT_GE(share.end - share.begin, count / size);
        EXPECT_LE(share.end - share.begin, count / size + 1);
        at = share.end;
      }
      EXPECT_EQ(at, count);
    }
  }
}

TEST(Buckets, EveryElementIsSummedOnceAndAlikeOnEveryRank) {
  for (const std::int64_t count : {1L, 1000L, (1L << 20) - 1, 1L << 20, (1L << 20) + 1, 2'500'000L}) {
    ThreadGroup(3).run([&](Collectives& collectives) {
      std::vector<float> values(static_cast<std::size_t>(count));
      for (std::size_t i = 0; i < values.size(); ++i) {
        values[i] = static_cast<float>(i % 1000) + static_cast<float>(collectives.rank());
      }
      all_reduce_buckets(collectives, tensor::Tensor::of(values.data(), {count}));
      for (std::size_t i = 0; i < values.size(); ++i) ASSERT_EQ(values[i], static_cast<float>(3 * (i % 1000) + 3));
    });
  }
}

TEST(Buckets, OfBFloat16AreSummedInFloat32AndRoundedOnce) {
  constexpr std::int64_t kCount = (1L << 20) + 5;
  ThreadGroup(3).run([&](Collectives& collectives) {
    // 1 + 2⁻⁸ + 2⁻⁸: each addend alone would be lost in bfloat16.
    const float mine = collectives.rank() == 0 ? 1.0F : 0x1p-8F;
    std::vector<tensor::BFloat16> values(kCount, tensor::BFloat16(mine));
    all_reduce_buckets(collectives, tensor::Tensor::of(values.data(), {kCount}));
    for (const float value : values) ASSERT_EQ(value, 1 + 0x1p-7F);
  });
}

TEST(Broadcast, GivesEveryRankWhatRankZeroHas) {
  ThreadGroup(3).run([&](Collectives& collectives) {
    std::vector<float> values(1'100'000, static_cast<float>(collectives.rank() + 7));
    broadcast(collectives, tensor::Tensor::of(values.data(), {1'100'000}));
    for (const float value : values) ASSERT_EQ(value, 7.0F);
  });
}

TEST(ThreadGroup, AFailingRankFailsTheOthers) {
  EXPECT_THROW(ThreadGroup(3).run([](Collectives& collectives) {
    if (collectives.rank() == 1) throw Error(ErrorKind::kInvalid, "rank 1");
    collectives.barrier();
  }),
               Error);
}

}  // namespace
}  // namespace athanor::parallel
