// A checkpoint is whole or absent: these tests stop the writer at every write, sync, rename and removal, with and without
// a power failure, damage every file, and each time ask for the newest whole one.
#include "engine/train/checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <cerrno>
#include <filesystem>

#include "common/error.h"
#include "common/temporary_folder.h"
#include "engine/train/checkpoint_test_support.h"

namespace athanor::train {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::string save(Files& files, const std::string& folder, std::int64_t step, std::int64_t kept = 2) {
  State state(static_cast<float>(step));
  return save_checkpoint(files, folder, tiny_config(), input(), run_state(step), state.tensors(), kept);
}

TEST(Checkpoint, HoldsTheWholeStateAndReplacesOlderOnes) {
  const TemporaryFolder folder;
  SystemFiles files;
  EXPECT_THAT(list_checkpoints(files, folder.path() + "/absent"), ElementsAre());
  for (const std::int64_t step : {1, 2, 30}) EXPECT_EQ(save(files, folder.path(), step), checkpoint_name(step));
  EXPECT_THAT(list_checkpoints(files, folder.path()), ElementsAre("step-00000030", "step-00000002"));
  State state(-1);
  const auto loaded = load_newest_checkpoint(files, folder.path(), tiny_config(), input(), state.tensors());
  ASSERT_TRUE(loaded);
  EXPECT_EQ(loaded->step, 30);
  ASSERT_TRUE(find_text(files, folder.path(), input()).has_value());
  EXPECT_EQ(find_text(files, folder.path(), input())->tokenizer, "{}");
  EXPECT_EQ(find_text(files, folder.path(), input())->now, input().text.now);
  EXPECT_EQ(loaded->tokens_seen, 210);
  EXPECT_EQ(loaded->first_evaluation_loss, 1.5);
  EXPECT_EQ(loaded->data_step, 35);
  EXPECT_EQ(loaded->skipped_steps, 1);
  EXPECT_EQ(loaded->skipped_in_a_row, 1);
  EXPECT_EQ(loaded->rollbacks, 2);
  EXPECT_THAT(loaded->losses.losses(), ElementsAre(1.0 / 3, 2.5e-7));
  EXPECT_TRUE(state.holds(30));
}

// Every name in the folder is that of a whole checkpoint.
void expect_all_whole(const std::string& folder) {
  SystemFiles files;
  for (const std::string& name : list_checkpoints(files, folder)) {
    State state(-1);
    EXPECT_NO_THROW(load_checkpoint(files, folder, name, tiny_config(), input(), state.tensors())) << name;
  }
}

class Crash : public testing::TestWithParam<bool> {};
INSTANTIATE_TEST_SUITE_P(PowerFails, Crash, testing::Bool());

TEST_P(Crash, AtAnyChangeLeavesTheOldOrTheNewWhole) {
  std::int64_t at = 0, old_ones = 0, new_ones = 0;
  for (bool crashed = true; crashed; ++at) {
    ASSERT_LT(at, 1000);
    const TemporaryFolder folder;
    SystemFiles files;
    save(files, folder.path(), 1, 1);
    save(files, folder.path(), 2, 1);
    CrashingFiles crashing(at);
    try {
      save(crashing, folder.path(), 3, 1);
    } catch (const Error&) {
      EXPECT_TRUE(crashing.crashed());
    }
    crashed = crashing.crashed();
    if (GetParam()) crashing.lose_power();
    SCOPED_TRACE("after a crash at change " + std::to_string(at));
    State state(-1);
    const auto loaded = load_newest_checkpoint(files, folder.path(), tiny_config(), input(), state.tensors());
    ASSERT_TRUE(loaded);
    EXPECT_TRUE(loaded->step == 2 || loaded->step == 3);
    EXPECT_TRUE(state.holds(static_cast<float>(loaded->step)));
    expect_all_whole(folder.path());
    (loaded->step == 2 ? old_ones : new_ones) += 1;
    // And the next save is not in the way of what was left.
    save(files, folder.path(), 3, 1);
    save(files, folder.path(), 4, 1);
    EXPECT_THAT(files.list(folder.path()), ElementsAre("step-00000004"));
  }
  EXPECT_GT(old_ones, 8);  // folders, three files written, synced and renamed, and their folder synced
  EXPECT_GT(new_ones, 2);
}

TEST(Checkpoint, TheFirstOneIsDurableWithTheFoldersMadeForIt) {
  const TemporaryFolder above;
  const std::string folder = above / "run/checkpoints";
  CrashingFiles files(1000);
  save(files, folder, 1);
  files.lose_power();
  EXPECT_THAT(list_checkpoints(files, folder), ElementsAre("step-00000001"));
  expect_all_whole(folder);
}

TEST(Checkpoint, FallsBackWhenTheNewestIsDamagedInAnyWay) {
  SystemFiles files;
  const std::vector<std::pair<const char*, std::function<void(const std::string&)>>> damages = {
      {"empty folder",
       [](const std::string& path) {
         std::filesystem::remove_all(path);
         std::filesystem::create_directory(path);
       }},
      {"no manifest", [](const std::string& path) { std::filesystem::remove(path + "/checkpoint.json"); }},
      {"no tokenizer", [](const std::string& path) { std::filesystem::remove(path + "/tokenizer"); }},
      {"another tokenizer", [&](const std::string& path) { files.replace(path + "/tokenizer", "[]"); }},
      {"no shard", [](const std::string& path) { std::filesystem::remove(path + "/shard-00000.safetensors"); }},
      {"short shard",
       [](const std::string& path) {
         const std::string shard = path + "/shard-00000.safetensors";
         std::filesystem::resize_file(shard, std::filesystem::file_size(shard) - 1);
       }},
      {"one bit",
       [&](const std::string& path) {
         const std::string shard = path + "/shard-00000.safetensors";
         std::string bytes = files.read_all(shard);
         bytes[bytes.size() - 100] ^= 1;
         files.replace(shard, bytes);
       }},
      {"header of the shard",
       [&](const std::string& path) {
         const std::string shard = path + "/shard-00000.safetensors";
         std::string bytes = files.read_all(shard);
         bytes[3] = 'x';
         files.replace(shard, bytes);
       }},
      {"half a manifest",
       [&](const std::string& path) {
         const std::string text = files.read_all(path + "/checkpoint.json");
         files.replace(path + "/checkpoint.json", text.substr(0, text.size() / 2));
       }},
      {"another manifest", [&](const std::string& path) { files.replace(path + "/checkpoint.json", "[1, 2]"); }},
      {"a position before the step",
       [&](const std::string& path) {
         std::string text = files.read_all(path + "/checkpoint.json");
         text.replace(text.find("\"next_step\":8"), 13, "\"next_step\":2");
         files.replace(path + "/checkpoint.json", text);
       }},
      {"a seed that is no number",
       [&](const std::string& path) {
         std::string text = files.read_all(path + "/checkpoint.json");
         text.replace(text.find("18446744073709551615"), 20, "x");
         files.replace(path + "/checkpoint.json", text);
       }},
  };
  for (const auto& [name, damage] : damages) {
    const TemporaryFolder folder;
    save(files, folder.path(), 1);
    save(files, folder.path(), 2);
    damage(folder.path() + "/" + checkpoint_name(2));
    State state(-1);
    const auto loaded = load_newest_checkpoint(files, folder.path(), tiny_config(), input(), state.tensors());
    ASSERT_TRUE(loaded) << name;
    EXPECT_EQ(loaded->step, 1) << name;
    EXPECT_TRUE(state.holds(1)) << name;
    // Going on from 1 writes 2 anew over the damaged one.
    save(files, folder.path(), 2);
    EXPECT_EQ(load_newest_checkpoint(files, folder.path(), tiny_config(), input(), state.tensors())->step, 2) << name;
  }
}

TEST(Checkpoint, ANewOneOutlivesDamagedOnesOfLaterSteps) {
  for (const std::int64_t kept : {1, 2}) {
    const TemporaryFolder folder;
    SystemFiles files;
    for (const std::int64_t step : {5, 20, 30, 40}) {
      save(files, folder.path(), step, 4);
      std::filesystem::remove(folder / checkpoint_name(step) + "/checkpoint.json");
    }
    EXPECT_EQ(save(files, folder.path(), 10, kept), "step-00000010");
    const std::vector<std::string> left = list_checkpoints(files, folder.path());
    EXPECT_EQ(left.front(), "step-00000010");
    EXPECT_EQ(left.size(), static_cast<std::size_t>(kept));
    State state(-1);
    const auto loaded = load_newest_checkpoint(files, folder.path(), tiny_config(), input(), state.tensors());
    ASSERT_TRUE(loaded);
    EXPECT_EQ(loaded->step, 10);
    EXPECT_TRUE(state.holds(10));
  }
}

TEST(Checkpoint, OfAnotherModelIsRefusedNotSkipped) {
  const TemporaryFolder folder;
  SystemFiles files;
  save(files, folder.path(), 1);
  model::Config other = tiny_config();
  other.rope_theta = 500000;
  State state(-1);
  try {
    load_newest_checkpoint(files, folder.path(), other, input(), state.tensors());
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kInvalid);
    EXPECT_THAT(error.what(), HasSubstr("another model"));
    EXPECT_THAT(error.what(), HasSubstr("5E5"));
  }
}

TEST(Checkpoint, OfAnotherPositionInTheDataOrAnotherTokenizerIsRefusedNotSkipped) {
  const TemporaryFolder folder;
  SystemFiles files;
  save(files, folder.path(), 1);
  for (const auto& [change, tells] : std::vector<std::pair<std::function<void(TrainInput&)>, std::string>>{
           {[](TrainInput& i) { i.batch = 4; }, "with batch 3, and this run has 4"},
           {[](TrainInput& i) { i.length = 9; }, "with length 8, and this run has 9"},
           {[](TrainInput& i) { i.seed = 1; }, "with seed 18446744073709551615, and this run has 1"},
           {[](TrainInput& i) { i.text.tokenizer = "[]"; }, "its tokenizer is another"}}) {
    TrainInput other = input();
    change(other);
    State state(-1);
    try {
      load_newest_checkpoint(files, folder.path(), tiny_config(), other, state.tensors());
      ADD_FAILURE() << tells;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kInvalid);
      EXPECT_THAT(error.what(),
                  testing::AllOf(HasSubstr("step-00000001"), HasSubstr(tells), HasSubstr("empty checkpoint folder")));
    }
    if (other.text.tokenizer == input().text.tokenizer) {
      EXPECT_THROW(find_text(files, folder.path(), other), Error) << "before any text is read: " << tells;
    }
  }
}

TEST(Checkpoint, AnotherTextIsGoneOnWithInTheTokenizerThatTheRunBeganWith) {
  const TemporaryFolder folder;
  SystemFiles files;
  EXPECT_FALSE(find_text(files, folder.path(), input()).has_value());
  save(files, folder.path(), 1);
  save(files, folder.path(), 2);
  TrainInput more = input();
  more.text.tokens = 200;
  more.text.fingerprint = "beef";
  State state(-1);
  testing::internal::CaptureStdout();
  const auto loaded = load_newest_checkpoint(files, folder.path(), tiny_config(), more, state.tensors());
  EXPECT_THAT(testing::internal::GetCapturedStdout(),
              HasSubstr("(200 tokens now, 100 then): step 3 comes from the new one"));
  ASSERT_TRUE(loaded);
  EXPECT_EQ(loaded->step, 2);
  // A damaged one is passed over here as there.
  std::filesystem::remove(folder / "step-00000002/tokenizer");
  EXPECT_EQ(find_text(files, folder.path(), more).value().tokenizer, "{}");
}

TEST(Checkpoint, OfAnotherVersionIsRefusedNotSkipped) {
  const TemporaryFolder folder;
  SystemFiles files;
  save(files, folder.path(), 1);
  save(files, folder.path(), 2);
  files.replace(folder / "step-00000002/checkpoint.json", R"({"version": 3, "all": "else may differ"})");
  State state(-1);
  try {
    load_newest_checkpoint(files, folder.path(), tiny_config(), input(), state.tensors());
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kInvalid);
    EXPECT_THAT(error.what(), HasSubstr("step-00000002: it has version 3, and this program knows version 2"));
  }
}

TEST(Checkpoint, OtherNamesInTheFolderAreLeftAlone) {
  const TemporaryFolder folder;
  SystemFiles files;
  for (const char* name : {"step-1", "step-0000000x", "notes", "step-00000005.old", ".hidden"}) {
    files.make_folders(folder.path() + "/" + name, 0755);
  }
  save(files, folder.path(), 7, 1);
  EXPECT_THAT(list_checkpoints(files, folder.path()), ElementsAre("step-00000007"));
  EXPECT_EQ(files.list(folder.path()).size(), 6U);
}

}  // namespace
}  // namespace athanor::train
