#include "engine/cli/run_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "common/error.h"
#include "common/json.h"

namespace athanor::llm {
namespace {

const train::Progress kProgress{.step = 20,
                                .steps = 100,
                                .loss = 32.125,
                                .learning_rate = 1e-3,
                                .gradient_norm = 0.5,
                                .tokens_per_s = 1234.4,
                                .seconds_left = 61,
                                .targets = 4096,
                                .skipped_steps = 2,
                                .checkpoint_wait_s = 0.25};
const train::Rollback kRollback{.from_step = 20, .to_step = 10, .loss = 9.5, .median = 2.25};

TEST(RunLog, AStatusHasWhatItsWidthHoldsTheStepBeforeAll) {
  const train::Progress& p = kProgress;
  EXPECT_EQ(status_line(p, 200),
            "[====                    ]  20%  step 20/100  loss 32.1250  1 min 1 s left  1,234 tokens/s");
  EXPECT_EQ(status_line(p, 79), "[==           ]  20%  step 20/100  loss 32.1250  1 min 1 s left  1,234 tokens/s");
  EXPECT_EQ(status_line(p, 60), "step 20/100  loss 32.1250  1 min 1 s left  1,234 tokens/s");
  EXPECT_EQ(status_line(p, 45), "step 20/100  loss 32.1250  1 min 1 s left");
  EXPECT_EQ(status_line(p, 30), "step 20/100  loss 32.1250");
  EXPECT_EQ(status_line(p, 5), "step 20/100");
}

TEST(RunLog, SpeaksToPeople) {
  EXPECT_EQ(step_line(LogFormat::kText, kProgress),
            "step 20/100  loss 32.125000  rate 1.00e-03  gradient 0.500  1,234 tokens/s  1 min 1 s left");
  EXPECT_EQ(evaluation_line(LogFormat::kText, {.step = 20, .loss = 1.5}),
            "evaluation loss 1.500000 at step 20 (perplexity 4.48)");
  EXPECT_EQ(checkpoint_line(LogFormat::kText, "step-00000020", 20), "checkpoint step-00000020");
  EXPECT_EQ(note_line(LogFormat::kText, "a \"b\""), "a \"b\"");
  EXPECT_EQ(start_line(LogFormat::kText, {}), "");
  EXPECT_THAT(rollback_line(LogFormat::kText, kRollback),
              testing::HasSubstr("step 20 has a spike: its loss is 9.500000"));
  train::Progress skipped = kProgress;
  skipped.skipped = true;
  skipped.loss = NAN;
  EXPECT_EQ(step_line(LogFormat::kText, skipped),
            "step 20/100  skipped: the loss is nan and the gradient's norm 0.5; 2 skipped so far");
}

json::object parsed(const std::string& line) {
  EXPECT_EQ(line.find('\n'), line.npos);
  return json::parse(line, "the log").as_object();
}

TEST(RunLog, SpeaksToMachinesInOneObjectALine) {
  const json::object step = parsed(step_line(LogFormat::kJson, kProgress));
  EXPECT_EQ(step.at("event"), "step");
  EXPECT_EQ(step.at("step"), 20);
  EXPECT_EQ(step.at("loss").to_number<double>(), 32.125);
  EXPECT_EQ(step.at("targets"), 4096);
  EXPECT_EQ(step.at("skipped"), false);
  EXPECT_EQ(step.at("skipped_steps"), 2);
  EXPECT_EQ(step.at("checkpoint_wait_s").to_number<double>(), 0.25);
  EXPECT_THAT(step_line(LogFormat::kJson, kProgress),
              testing::HasSubstr("\"loss\": 32.125,"));  // for a regular expression

  train::Progress lost = kProgress;
  lost.loss = NAN;
  lost.gradient_norm = INFINITY;
  EXPECT_TRUE(parsed(step_line(LogFormat::kJson, lost)).at("loss").is_null());
  EXPECT_TRUE(parsed(step_line(LogFormat::kJson, lost)).at("gradient_norm").is_null());

  EXPECT_EQ(parsed(evaluation_line(LogFormat::kJson, {.step = 20})).at("perplexity"), 1);
  EXPECT_EQ(parsed(checkpoint_line(LogFormat::kJson, "step-00000020", 20)).at("name"), "step-00000020");
  EXPECT_EQ(parsed(rollback_line(LogFormat::kJson, kRollback)).at("to_step"), 10);
  EXPECT_EQ(parsed(start_line(LogFormat::kJson, {.parameters = 7})).at("parameters"), 7);
  EXPECT_EQ(parsed(note_line(LogFormat::kJson, "a \"b\"\nc")).at("text"), "a \"b\"\nc");
}

TEST(RunLog, TellsHowPreferencesStand) {
  const train::Preferences preferences{.chosen_reward = 0.5, .rejected_reward = -0.25, .accuracy = 0.875};
  train::Progress progress = kProgress;
  progress.preferences = preferences;
  const std::string stand = "  accuracy 0.8750  margin 0.750000  chosen 0.500000  rejected -0.250000";
  EXPECT_EQ(preparation_line(LogFormat::kText, {.done = 1200, .of = 4000}),
            "reference   1,200 of 4,000 pairs judged by the model as it is");
  EXPECT_EQ(parsed(preparation_line(LogFormat::kJson, {.done = 1200, .of = 4000})).at("done"), 1200);
  EXPECT_THAT(step_line(LogFormat::kText, progress),
              testing::StartsWith("step 20/100  loss 32.125000" + stand + "  rate "));
  EXPECT_EQ(evaluation_line(LogFormat::kText, {.step = 20, .loss = 1.5, .preferences = preferences}),
            "evaluation loss 1.500000 at step 20" + stand);
  const std::string evaluation =
      evaluation_line(LogFormat::kJson, {.step = 20, .loss = 1.5, .preferences = preferences});
  for (const std::string& line : {step_line(LogFormat::kJson, progress), evaluation}) {
    const json::object told = parsed(line);
    EXPECT_EQ(told.at("accuracy").to_number<double>(), 0.875);
    EXPECT_EQ(told.at("margin").to_number<double>(), 0.75);
    EXPECT_EQ(told.at("chosen_reward").to_number<double>(), 0.5);
    EXPECT_EQ(told.at("rejected_reward").to_number<double>(), -0.25);
  }
  EXPECT_FALSE(parsed(evaluation).contains("perplexity"));
}

TEST(RunLog, HasTwoFormats) {
  EXPECT_EQ(log_format("text"), LogFormat::kText);
  EXPECT_EQ(log_format("json"), LogFormat::kJson);
  EXPECT_THROW(log_format("xml"), Error);
}

}  // namespace
}  // namespace athanor::llm
