#include "engine/cli/operator_table.h"

#include <gtest/gtest.h>

#include "common/clock.h"
#include "engine/cli/machine_rates.h"

namespace athanor::llm {
namespace {

// Two steps of 3 s on a machine of 100 FLOP/s and 10 B/s.
const tensor::OperatorTime kOperators[] = {
    {.name = "moves", .calls = 4, .seconds = 1, .work = {.bytes = 8, .flops = 20}},
    {.name = "multiplies", .calls = 2, .seconds = 4, .work = {.bytes = 8, .flops = 200}},
};
const OperatorTable kTable{.operators = kOperators,
                           .steps = 2,
                           .step_s = 3,
                           .rates = {.product_flops = 100, .triad_bytes = 10}};

TEST(OperatorTable, MeasuresAgainstTheTighterLimitTheLongestFirstAndSaysWhatIsLeft) {
  const json::array lines = kTable.lines();
  ASSERT_EQ(lines.size(), 3u);
  const json::object& multiplies = lines[0].as_object();
  EXPECT_EQ(multiplies.at("name"), "multiplies");
  EXPECT_EQ(multiplies.at("calls"), 1.0);
  EXPECT_EQ(multiplies.at("seconds"), 2.0);
  EXPECT_DOUBLE_EQ(multiplies.at("share").as_double(), 2.0 / 3);
  EXPECT_EQ(multiplies.at("unit"), "FLOP/s");
  EXPECT_EQ(multiplies.at("rate"), 50.0);
  EXPECT_EQ(multiplies.at("roofline_fraction"), 0.5);
  const json::object& moves = lines[1].as_object();
  EXPECT_EQ(moves.at("name"), "moves");
  EXPECT_EQ(moves.at("unit"), "B/s");  // 4 bytes take 0.4 s here, 10 operations 0.1 s
  EXPECT_EQ(moves.at("rate"), 8.0);
  EXPECT_DOUBLE_EQ(moves.at("roofline_fraction").as_double(), 0.8);
  const json::object& rest = lines[2].as_object();
  EXPECT_EQ(rest.at("name"), "the rest");
  EXPECT_EQ(rest.at("seconds"), 0.5);
  EXPECT_FALSE(rest.contains("roofline_fraction"));
}

TEST(OperatorTable, AnOperatorThatTookNoTimeHasNoRate) {
  const tensor::OperatorTime none{.name = "quick", .calls = 1, .work = {.bytes = 8}};
  const OperatorTable table{.operators = {&none, 1}, .steps = 1, .step_s = 1, .rates = kTable.rates};
  EXPECT_FALSE(table.lines()[0].as_object().contains("rate"));
  EXPECT_NE(table.text().find("quick"), std::string::npos);
}

TEST(MachineRates, AreThoseOfAMachine) {
  tensor::Context context(1);
  const SystemClock clock;
  EXPECT_GT(product_rate(context, tensor::DType::kFloat32, clock, 0).best, 1e8);
  const double triad = triad_rate(context, clock, 0).mean;
  EXPECT_GT(triad, 1e7);
  EXPECT_LT(triad, 1e13);
}

}  // namespace
}  // namespace athanor::llm
