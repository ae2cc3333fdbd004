// What checkpoint_test.cc asks of a checkpoint, while its tensors change under the writer's hands.
#include "engine/train/checkpoint_writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <tuple>

#include "common/temporary_folder.h"
#include "engine/train/checkpoint_test_support.h"

namespace athanor::train {
namespace {

using testing::HasSubstr;

// A run on one folder, with room for copies or without.
struct Writing {
  Writing(Files& files, const std::string& folder, bool with_room, std::int64_t kept = 2)
      : state(0),
        room(with_room ? state.size() * 3 * sizeof(float) : 0, '?'),
        writer(files, folder, config, text, state.tensors(), kept, room) {}

  // Changes every number, as an update would.
  void update(float value) {
    writer.before_update(context);
    state.set(value);
  }

  const model::Config config = tiny_config();
  const TrainInput text = input();
  tensor::Context context{2};
  State state;
  std::string room;
  CheckpointWriter writer;
};

// The step of the newest whole checkpoint, if its numbers are all those of that step.
std::int64_t newest(const std::string& folder) {
  SystemFiles files;
  State state(-1);
  const auto loaded = load_newest_checkpoint(files, folder, tiny_config(), input(), state.tensors());
  if (!loaded) return -1;
  EXPECT_TRUE(state.holds(static_cast<float>(loaded->step)));
  return loaded->step;
}

class Room : public testing::TestWithParam<bool> {};
INSTANTIATE_TEST_SUITE_P(WithRoom, Room, testing::Bool());

TEST_P(Room, ACheckpointIsOfItsStepWhateverComesAfter) {
  const TemporaryFolder folder;
  SystemFiles files;
  Writing run(files, folder.path(), GetParam());
  std::vector<std::string> names;
  for (std::int64_t step = 1; step <= 40; ++step) {
    run.update(static_cast<float>(step));
    if (const auto written = run.writer.poll()) names.push_back(written->name);
    if (step % 4 != 0) continue;
    if (const auto written = run.writer.wait()) names.push_back(written->name);
    EXPECT_EQ(newest(folder.path()), step == 4 ? -1 : step - 4);
    run.writer.begin(run_state(step));
  }
  const auto last = run.writer.wait();
  ASSERT_TRUE(last);
  EXPECT_EQ(last->step, 40);
  EXPECT_EQ(names.size(), 9U);
  EXPECT_EQ(newest(folder.path()), 40);
  EXPECT_EQ(run.writer.wait(), std::nullopt);
  EXPECT_EQ(run.writer.poll(), std::nullopt);
}

class CrashBesideTraining : public testing::TestWithParam<std::tuple<bool, bool>> {};
INSTANTIATE_TEST_SUITE_P(PowerFailsWithRoom, CrashBesideTraining, testing::Combine(testing::Bool(), testing::Bool()));

TEST_P(CrashBesideTraining, AtAnyChangeLeavesTheOldOrTheNewWholeAndIsToldOnce) {
  const auto [power_fails, with_room] = GetParam();
  std::int64_t at = 0, old_ones = 0, new_ones = 0;
  for (bool crashed = true; crashed; ++at) {
    ASSERT_LT(at, 1000);
    const TemporaryFolder folder;
    SystemFiles files;
    {
      Writing before(files, folder.path(), with_room, 1);
      before.update(2);
      before.writer.begin(run_state(2));
    }
    CrashingFiles crashing(at);
    {
      Writing run(crashing, folder.path(), with_room, 1);
      run.update(3);
      run.writer.begin(run_state(3));
      run.update(4);  // beside the writing
      std::string told;
      try {
        run.writer.wait();
      } catch (const Error& error) {
        told = error.what();
      }
      crashed = crashing.crashed();
      EXPECT_EQ(!told.empty(), crashed) << told;
      EXPECT_NO_THROW(run.writer.wait());
      run.update(5);  // nobody is waited for that has gone
    }
    if (power_fails) crashing.lose_power();
    SCOPED_TRACE("after a crash at change " + std::to_string(at));
    const std::int64_t step = newest(folder.path());
    EXPECT_TRUE(step == 2 || step == 3) << step;
    (step == 2 ? old_ones : new_ones) += 1;
  }
  EXPECT_GT(old_ones, 8);
  EXPECT_GT(new_ones, 2);
}

TEST(CheckpointWriter, AnErrorThatNobodyAsksForIsLogged) {
  const TemporaryFolder folder;
  CrashingFiles crashing(3);
  testing::internal::CaptureStdout();
  {
    Writing run(crashing, folder.path(), true);
    run.writer.begin(run_state(1));
  }
  EXPECT_THAT(testing::internal::GetCapturedStdout(), HasSubstr("The last checkpoint was not written"));
}

}  // namespace
}  // namespace athanor::train
