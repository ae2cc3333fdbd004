#include "engine/cli/agreement.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "common/error.h"
#include "engine/parallel/thread_group.h"

namespace athanor::llm {
namespace {

using testing::HasSubstr;

// What each of three ranks says when the last was told otherwise; empty for one that has nothing against it.
std::vector<std::string> refusals(const std::function<void(TrainSettings&, bool& resume)>& otherwise,
                                  const char* dtype = "float32") {
  std::vector<std::string> said(3);
  parallel::ThreadGroup(3).run([&](parallel::Collectives& collectives) {
    TrainSettings settings;
    settings.train.dtype = dtype;
    bool resume = false;
    if (collectives.rank() == 2) otherwise(settings, resume);
    try {
      check_agreement(settings, resume, collectives);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kInvalid);
      said[static_cast<std::size_t>(collectives.rank())] = error.what();
    }
  });
  return said;
}

TEST(Agreement, EveryDifferenceThatChangesTheModelEndsAllRanksAndIsNamed) {
  for (const auto& [otherwise, tells] : std::vector<std::pair<std::function<void(TrainSettings&, bool&)>, std::string>>{
           {[](TrainSettings&s, bool&) { s.train.learning_rate = 0.02; },
            R"("learning_rate 0.02", and rank 0 "learning_rate 0.001")"},
           {[](TrainSettings&s, bool&) { s.train.seed = 5; }, R"("seed 5", and rank 0 "seed 1")"},
           {[](TrainSettings&s, bool&) { s.train.batch = 160; }, R"("batch 160", and rank 0 "batch 16")"},
           {[](TrainSettings&s, bool&) { s.tied = false; }, R"("tied false", and rank 0 "tied true")"},
           {[](TrainSettings&, bool&resume) { resume = true; }, R"("resume true", and rank 0 "resume false")"},
           {[](TrainSettings&s, bool&) { s.prompt = "In"; }, R"("prompt In", and rank 0 "prompt ")"}}) {
    const std::vector<std::string> said = refusals(otherwise);
    EXPECT_THAT(said[0], HasSubstr("Of 3 ranks 1 had other options"));
    EXPECT_EQ(said[1], said[0]);
    EXPECT_THAT(said[2], HasSubstr("Rank 2 was told " + tells));
  }
}

TEST(Agreement, WhatIsAMachinesOwnMayDiffer) {
  EXPECT_EQ(refusals([](TrainSettings&, bool&) {}), std::vector<std::string>(3));
  EXPECT_EQ(refusals([](TrainSettings& s, bool&) { s.threads = 7, s.train.micro_batch = 1; }),
            std::vector<std::string>(3));
}

TEST(Agreement, InBFloat16AMicroBatchDecidesWhatIsRounded) {
  const std::vector<std::string> said = refusals([](TrainSettings& s, bool&) { s.train.micro_batch = 1; }, "bfloat16");
  EXPECT_THAT(said[2], HasSubstr(R"(Rank 2 was told "micro_batch 1", and rank 0 "micro_batch 8")"));
}

}  // namespace
}  // namespace athanor::llm
