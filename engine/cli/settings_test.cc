#include "engine/cli/settings.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <set>

#include "common/error.h"

namespace athanor::llm {
namespace {

using testing::AllOf;
using testing::HasSubstr;

// What `action` is refused with; fails the test when it is not.
std::string refusal(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kInvalid);
    return error.what();
  }
  ADD_FAILURE() << "not refused";
  return {};
}

TrainSettings applied(const json::object& hyperparameters) {
  TrainSettings settings;
  apply_hyperparameters(table_of(settings), hyperparameters);
  return settings;
}

TEST(Settings, NamesAreUniqueAndEveryDefaultCanBeSetFromItsOwnText) {
  TrainSettings defaults;
  std::set<std::string> names;
  for (const Setting& setting : table_of(defaults)) {
    EXPECT_TRUE(names.insert(setting.name).second) << setting.name;
    EXPECT_FALSE(setting.help.empty());
    set(setting, value_text(setting), setting.name);
  }
  check(defaults);
}

TEST(Settings, EveryTaskHasDefaultsThatCanBeTrained) {
  for (const char* name : {"pretrain", "finetune", "dpo"}) {
    const TrainSettings settings = default_settings(task_of(name));
    EXPECT_EQ(settings.task, name);
    check(settings);
  }
  EXPECT_THAT(refusal([] { task_of("fine-tune"); }), HasSubstr("task is \"fine-tune\"; it must be pretrain"));
}

TEST(Settings, StepsAndEpochsStandForEachOther) {
  const auto settled = [](const char* task, const json::object& given) {
    TrainSettings settings = default_settings(task_of(task));
    apply_hyperparameters(table_of(settings), given);
    std::vector<std::string> names;
    for (const auto& entry : given) names.emplace_back(entry.key());
    settle(settings, names, false);
    return std::pair(settings.train.steps, settings.epochs);
  };
  EXPECT_EQ(settled("pretrain", {}), std::pair(std::int64_t{100}, 0.0));
  EXPECT_EQ(settled("finetune", {}), std::pair(std::int64_t{0}, 3.0));
  EXPECT_EQ(settled("pretrain", {{"epochs", "0.5"}}), std::pair(std::int64_t{0}, 0.5));
  EXPECT_EQ(settled("finetune", {{"steps", "7"}}), std::pair(std::int64_t{7}, 0.0));
  EXPECT_THAT(refusal([&] {
                settled("finetune", {{"steps", "7"}, {"epochs", "2"}});
              }),
              HasSubstr("steps is 7 and epochs is 2: give one of them"));
}

TEST(Settings, AModelThatIsGivenHasItsOwnShape) {
  TrainSettings settings = default_settings(Task::kFinetune);
  EXPECT_THAT(refusal([&] { settle(settings, {"layers"}, true); }), HasSubstr("layers is given, and so is a model"));
  settings = default_settings(Task::kPretrain);
  EXPECT_THAT(refusal([&] {
                settle(settings, {"steps", "tied"}, true);
              }),
              HasSubstr("tied is given, and so is a model"));
  settle(settings, {"vocabulary", "length"}, true);  // of a tokenizer that the model may lack
  settle(settings, {"layers"}, false);
}

TEST(Settings, PreferencesHaveTheirOwn) {
  TrainSettings settings = default_settings(Task::kDpo);
  settle(settings, {"beta", "label_smoothing"}, true);
  settings.train.z_loss = 1e-4;
  EXPECT_THAT(refusal([&] { settle(settings, {"z_loss"}, true); }),
              HasSubstr("dpo learns preferences without it: leave z_loss out"));
  for (const Task task : {Task::kPretrain, Task::kFinetune}) {
    settings = default_settings(task);
    EXPECT_THAT(refusal([&] {
                  settle(settings, {"steps", "beta"}, tunes(task));
                }),
                HasSubstr("beta is given, and the task is " + settings.task));
  }
}

TEST(Settings, HyperparametersAreTextsAndReachWhatTheyName) {
  const TrainSettings settings = applied({{"hidden_size", "128"},
                                          {"learning_rate", "3e-4"},
                                          {"tied", "false"},
                                          {"prompt", "In the beginning"},
                                          {"seed", "18446744073709551615"},
                                          {"steps", "7"},
                                          {"sagemaker_job_name", "\"of an SDK\""}});
  EXPECT_EQ(settings.hidden_size, 128);
  EXPECT_EQ(settings.train.learning_rate, 3e-4);
  EXPECT_FALSE(settings.tied);
  EXPECT_EQ(settings.prompt, "In the beginning");
  EXPECT_EQ(settings.train.seed, 18446744073709551615ULL);
  EXPECT_EQ(settings.train.steps, 7);
}

TEST(Settings, TakeWhatSdksMakeOfValues) {
  EXPECT_EQ(applied({{"steps", 12}}).train.steps, 12);
  EXPECT_TRUE(applied({{"tied", "True"}}).tied);
  EXPECT_EQ(applied({{"prompt", "\"In \\u0061\""}}).prompt, "In a");
}

TEST(Settings, WrongTypesAreRefusedByName) {
  for (const auto& [name, value, rule] :
       std::vector<std::tuple<const char*, const char*, const char*>>{{"hidden_size", "big", "a whole number"},
                                                                      {"hidden_size", "12.5", "a whole number"},
                                                                      {"hidden_size", "", "a whole number"},
                                                                      {"hidden_size", " 12", "a whole number"},
                                                                      {"hidden_size", "99999999999999999999",
                                                                       "a whole number"},
                                                                      {"learning_rate", "fast", "a number"},
                                                                      {"learning_rate", "nan", "a number"},
                                                                      {"learning_rate", "inf", "a number"},
                                                                      {"learning_rate", "1e-3x", "a number"},
                                                                      {"tied", "yes", "true or false"},
                                                                      {"seed", "-1", "0 or more"}}) {
    EXPECT_THAT(refusal([&] {
                  applied({{name, value}});
                }),
                AllOf(HasSubstr(std::string("Hyperparameter ") + name + " is \"" + value + "\""), HasSubstr(rule)));
  }
}

TEST(Settings, AnUnknownNameIsRefusedWithTheNearest) {
  for (const auto& [name, meant] : std::vector<std::pair<const char*, const char*>>{{"hiden_size", "hidden_size"},
                                                                                    {"hidden-size", "hidden_size"},
                                                                                    {"Steps", "steps"},
                                                                                    {"num_layers", "layers"},
                                                                                    {"learning_rte", "learning_rate"},
                                                                                    {"batch_size", "batch"},
                                                                                    {"bacth", "batch"}}) {
    EXPECT_THAT(refusal([&] {
                  applied({{name, "1"}});
                }),
                AllOf(HasSubstr(std::string("\"") + name + "\""),
                      HasSubstr(std::string("Did you mean \"") + meant + "\"")));
  }
  EXPECT_THAT(refusal([] { applied({{"zzzzzzzz", "1"}}); }), AllOf(HasSubstr("There are: "), HasSubstr("hidden_size")));
}

TEST(Settings, ValuesThatCannotBeTrainedWithAreRefusedByName) {
  for (const auto& [name, value] : std::vector<std::pair<const char*, const char*>>{{"vocabulary", "256"},
                                                                                    {"layers", "0"},
                                                                                    {"hidden_size", "-4"},
                                                                                    {"hidden_size", "99999999"},
                                                                                    {"intermediate_size", "-1"},
                                                                                    {"steps", "0"},
                                                                                    {"length", "0"},
                                                                                    {"held_out", "0.6"},
                                                                                    {"log_every", "0"},
                                                                                    {"threads", "-1"},
                                                                                    {"sample_tokens", "-1"},
                                                                                    {"temperature", "-0.5"},
                                                                                    {"z_loss", "-1"},
                                                                                    {"beta", "0"},
                                                                                    {"label_smoothing", "0.5"},
                                                                                    {"learning_rate", "0"}}) {
    const TrainSettings settings = applied({{name, value}});
    EXPECT_THAT(refusal([&] { check(settings); }), HasSubstr(name));
  }
}

TEST(ModelConfig, ChoosesWhatIsNotSaid) {
  const model::Config config = model_config(applied({{"hidden_size", "256"}, {"length", "512"}}), 4000);
  EXPECT_EQ(config.vocab_size, 4000);
  EXPECT_EQ(config.num_attention_heads, 4);
  EXPECT_EQ(config.num_key_value_heads, 4);
  EXPECT_EQ(config.head_dim, 64);
  EXPECT_EQ(config.intermediate_size, 704);
  EXPECT_EQ(config.max_position_embeddings, 512);
  EXPECT_EQ(model_config(applied({{"hidden_size", "32"}}), 300).num_attention_heads, 1);
}

TEST(ModelConfig, ImpossibleShapesAreRefusedWithWhatToChange) {
  EXPECT_THAT(refusal([] {
                model_config(applied({{"hidden_size", "100"}, {"heads", "3"}}), 300);
              }),
              AllOf(HasSubstr("hidden_size (100)"), HasSubstr("heads (3)"), HasSubstr("head_dim")));
  EXPECT_THAT(refusal([] { model_config(applied({{"heads", "4"}, {"kv_heads", "3"}}), 300); }), HasSubstr("multiple"));
  EXPECT_THAT(refusal([] { model_config(applied({{"hidden_size", "30"}, {"heads", "2"}}), 300); }), HasSubstr("even"));
}

TEST(Nearest, IsSilentWhenNothingIsNear) {
  EXPECT_EQ(nearest("stesp", {"steps", "seed"}), "steps");
  EXPECT_EQ(nearest("temperature_of_the_oven", {"steps", "seed"}), "");
  EXPECT_EQ(nearest("x", {}), "");
}

}  // namespace
}  // namespace athanor::llm
