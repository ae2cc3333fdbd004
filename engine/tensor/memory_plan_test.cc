#include "engine/tensor/memory_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <functional>
#include <vector>

#include "common/error.h"
#include "common/random.h"

namespace athanor::tensor {
namespace {

using testing::HasSubstr;

TEST(MemoryPlan, SharesBytesBetweenTensorsThatAreNeverNeededTogether) {
  MemoryPlan plan;
  const Tensor& early = plan.add("a", "early", DType::kFloat32, {1000}, {0, 1});
  const Tensor& late = plan.add("a", "late", DType::kFloat32, {1000}, {2, 3});
  const Tensor& always = plan.add("b", "always", DType::kFloat32, {1000});
  plan.allocate(1 << 20, "");
  EXPECT_EQ(early.data(), late.data());
  EXPECT_NE(early.data(), always.data());
  EXPECT_EQ(plan.bytes(), 2 * 4032U);  // 4000 bytes rounded up to 64
}

TEST(MemoryPlan, IsZeroedAndAligned) {
  MemoryPlan plan;
  std::vector<const Tensor*> tensors;
  for (int i = 1; i < 50; ++i) tensors.push_back(&plan.add("g", "t", DType::kFloat32, {i}));
  plan.allocate(1 << 20, "");
  for (const Tensor* tensor : tensors) {
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(tensor->data()) % 64, 0U);
    for (const float value : tensor->floats()) EXPECT_EQ(value, 0.0F);
  }
}

std::int64_t pages_there(const Tensor& tensor) {
  const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto begin = reinterpret_cast<std::uintptr_t>(tensor.data()) / page * page;
  const auto end = reinterpret_cast<std::uintptr_t>(tensor.data()) + tensor.bytes();
  std::vector<unsigned char> there((end - begin + page - 1) / page);
  EXPECT_EQ(::mincore(reinterpret_cast<void*>(begin), end - begin, there.data()), 0);
  return std::ranges::count_if(there, [](unsigned char one) { return (one & 1) != 0; });
}

TEST(MemoryPlan, TakesEveryPageWhenTold) {
  MemoryPlan plan;
  const Tensor& large = plan.add("g", "large", DType::kFloat32, {5'000'001});
  plan.allocate(1 << 30, "");
  large.f32()[7] = 3;
  large.f32()[5'000'000] = 4;
  const std::int64_t before = pages_there(large);
  Context context(3);
  plan.take_pages(context);
  EXPECT_LT(before, pages_there(large));
  EXPECT_GE(pages_there(large) * ::sysconf(_SC_PAGESIZE), static_cast<std::int64_t>(large.bytes()));
  EXPECT_EQ(large.floats()[7], 3);
  EXPECT_EQ(large.floats()[5'000'000], 4);
  EXPECT_EQ(std::ranges::count(large.floats(), 0.0F), 4'999'999);
}

// Property: whatever the sizes and lifetimes, tensors that live together do not overlap.
TEST(MemoryPlan, NeverOverlapsWhatLivesTogether) {
  SeededRandom random(7);
  for (int round = 0; round < 50; ++round) {
    MemoryPlan plan;
    struct Entry {
      const Tensor* tensor;
      Lifetime life;
    };
    std::vector<Entry> entries;
    std::uint64_t sum = 0;
    for (int i = 0; i < 60; ++i) {
      const int first = static_cast<int>(random.below(20)), last = first + static_cast<int>(random.below(8));
      const auto count = static_cast<std::int64_t>(1 + random.below(500));
      entries.push_back({&plan.add("g", "t", DType::kFloat32, {count}, {first, last}), {first, last}});
      sum += entries.back().tensor->bytes() + 64;
    }
    plan.allocate(1 << 24, "");
    EXPECT_LT(plan.bytes(), sum);
    for (const Entry& a : entries) {
      for (const Entry& b : entries) {
        if (&a == &b || !a.life.overlaps(b.life)) continue;
        const char* a_begin = static_cast<char*>(a.tensor->data());
        const char* b_begin = static_cast<char*>(b.tensor->data());
        EXPECT_TRUE(a_begin + a.tensor->bytes() <= b_begin || b_begin + b.tensor->bytes() <= a_begin);
      }
    }
  }
}

TEST(MemoryPlan, PartsOfAVectorGiveTheirPlacesToWhatLivesBeforeThem) {
  MemoryPlan plan;
  // Layers that are left in the opposite order, each kept until what takes its place begins.
  const LivingPart parts[] = {{1024, Lifetime::always()}, {1024, {6, 9}}, {1024, {5, 9}}, {16, {4, 9}}};
  const Tensor& vector = plan.add_parts("v", "v", DType::kFloat32, parts);
  const Tensor& first = plan.add("a", "first", DType::kFloat32, {1024}, {1, 6});
  const Tensor& second = plan.add("a", "second", DType::kFloat32, {1024}, {2, 5});
  const Tensor& third = plan.add("a", "third", DType::kFloat32, {1024}, {3, 4});
  EXPECT_EQ(plan.least_bytes(), 4 * 4096U + 64);
  plan.allocate(1 << 20, "");
  EXPECT_EQ(vector.count(), 3 * 1024 + 16);
  EXPECT_EQ(second.data(), vector.f32() + 1024);
  EXPECT_EQ(third.data(), vector.f32() + 2048);
  EXPECT_TRUE(first.f32() >= vector.f32() + vector.count() || first.f32() + first.count() <= vector.f32());
}

TEST(MemoryPlan, WhatLivesInAGapOfAnotherMayLieInItsPlace) {
  const Lifetime gapped{1, 9, 4, 5};
  EXPECT_FALSE(gapped.overlaps({4, 5}));
  EXPECT_FALSE((Lifetime{5, 5}).overlaps(gapped));
  EXPECT_TRUE(gapped.overlaps({5, 6}));
  EXPECT_TRUE((Lifetime{3, 4}).overlaps(gapped));
  EXPECT_TRUE(gapped.overlaps(gapped));
  EXPECT_FALSE(gapped.overlaps({10, 12}));
  MemoryPlan plan;
  const Tensor& outer = plan.add("a", "outer", DType::kFloat32, {1024}, gapped);
  const Tensor& inner = plan.add("a", "inner", DType::kFloat32, {1024}, {4, 5});
  EXPECT_EQ(plan.least_bytes(), 4096U);
  plan.allocate(1 << 20, "");
  EXPECT_EQ(outer.data(), inner.data());
}

// Property: whatever the sizes and lifetimes of parts, and gaps, bytes that live together do not overlap.
TEST(MemoryPlan, NeverOverlapsPartsOrGapsThatLiveTogether) {
  SeededRandom random(8);
  const auto draw = [&](std::int64_t below) {
    return static_cast<int>(random.below(static_cast<std::uint64_t>(below)));
  };
  int fragmented = 0;
  for (int round = 0; round < 50; ++round) {
    MemoryPlan plan;
    struct Extent {
      const Tensor* tensor;
      std::int64_t begin, count;
      Lifetime life;
    };
    std::vector<Extent> extents;
    for (int i = 0; i < 40; ++i) {
      std::vector<LivingPart> parts;
      for (int part = 0, count = i % 4 == 0 ? 1 + draw(6) : 1; part < count; ++part) {
        const int first = draw(20), last = first + draw(8);
        Lifetime life{first, last};
        if (last - first >= 2 && draw(2) == 0) life.gap_first = life.gap_last = first + 1;
        parts.push_back({1 + draw(500), life});
      }
      const Tensor& tensor = plan.add_parts("g", "t", DType::kFloat32, parts);
      std::int64_t begin = 0;
      for (const auto& [count, life] : parts) {
        extents.push_back({&tensor, begin, count, life});
        begin += count;
      }
    }
    const std::uint64_t placed = plan.placed_bytes();
    fragmented += placed > plan.least_bytes();
    EXPECT_GE(placed, plan.least_bytes());
    EXPECT_THROW(plan.allocate(placed - 1, ""), Error);
    plan.allocate(placed, "");
    EXPECT_EQ(plan.bytes(), placed);
    for (const Extent& a : extents) {
      for (const Extent& b : extents) {
        if (&a == &b || !a.life.overlaps(b.life)) continue;
        const float *a_begin = a.tensor->f32() + a.begin, *b_begin = b.tensor->f32() + b.begin;
        EXPECT_TRUE(a_begin + a.count <= b_begin || b_begin + b.count <= a_begin);
      }
    }
  }
  EXPECT_GT(fragmented, 0)
      << "no plan that takes more than its fullest phase needs: the test has not seen what it is for";
}

TEST(MemoryPlan, TooMuchIsAnErrorThatNamesWhatToChange) {
  MemoryPlan plan;
  plan.add("activations", "x", DType::kFloat32, {1 << 20});
  try {
    plan.allocate(1 << 20, "Lower micro_batch");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kExhausted);
    EXPECT_THAT(error.what(), HasSubstr("needs 4.0 MiB"));
    EXPECT_THAT(error.what(), HasSubstr("1.0 MiB are available"));
    EXPECT_THAT(error.what(), HasSubstr("Lower micro_batch"));
    EXPECT_THAT(error.what(), HasSubstr("activations"));
  }
}

TEST(MemoryPlan, WhatNoMachineHasIsRefusedAsItIsAdded) {
  constexpr std::int64_t kHuge = 1LL << 40;
  MemoryPlan plan;
  for (const auto& add :
       std::vector<std::function<void()>>{[&] {
                                            plan.add("g", "wide", DType::kFloat32, {kHuge, kHuge});
                                          },
                                          [&] {
                                            plan.add("g", "wide", DType::kInt32, {1 << 24, 1 << 24, 1 << 24});
                                          },
                                          [&] {
                                            plan.add("g", "wide", DType::kFloat32, {kHuge, 64});
                                          },
                                          [&] { plan.add_rows("g", "wide", kHuge, 1 << 24); },
                                          [&] { plan.add_rows("g", "wide", 1LL << 58, 16); }}) {
    try {
      add();
      ADD_FAILURE();
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kExhausted);
      EXPECT_THAT(error.what(), HasSubstr("wide"));
    }
  }
  plan.add("g", "fits", DType::kFloat32, {100});
  plan.allocate(1 << 20, "");
}

TEST(MemoryPlan, VeryManyTensorsThatDoNotFitAreRefusedBeforeTheyArePlaced) {
  MemoryPlan plan;
  for (int i = 0; i < 200'000; ++i) plan.add("g", "t", DType::kFloat32, {16}, {i / 2, 200'000});
  EXPECT_THROW(plan.allocate(1 << 20, ""), Error);  // placing them would take minutes
}

TEST(MemoryPlan, TableCountsGroupsLargestFirst) {
  MemoryPlan plan;
  plan.add("small", "a", DType::kInt32, {256});
  plan.add("large", "b", DType::kFloat32, {256 * 1024}, {0, 0});
  plan.add("large", "c", DType::kFloat32, {256 * 1024}, {1, 1});
  plan.allocate(1 << 24, "");
  const std::string table = plan.table();
  EXPECT_LT(table.find("large"), table.find("small"));
  EXPECT_THAT(table, HasSubstr("2.0 MiB"));   // large
  EXPECT_THAT(table, HasSubstr("-1.0 MiB"));  // shared
}

}  // namespace
}  // namespace athanor::tensor
