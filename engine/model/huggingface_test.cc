#include "engine/model/huggingface.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>

#include "common/error.h"
#include "common/temporary_folder.h"
#include "engine/model/safetensors.h"

namespace athanor::model {
namespace {

using testing::HasSubstr;

Config small(bool tied) {
  Config config;
  config.vocab_size = 40;
  config.hidden_size = 16;
  config.intermediate_size = 24;
  config.num_hidden_layers = 2;
  config.num_attention_heads = 4;
  config.num_key_value_heads = 2;
  config.head_dim = 4;
  config.max_position_embeddings = 32;
  config.tie_word_embeddings = tied;
  return config;
}

std::vector<Config> families() {
  Config llama = small(true), mistral = small(false), qwen2 = small(true), qwen3 = small(false);
  llama.rope_scaling = {.kind = tensor::RopeScaling::Kind::kLlama3, .factor = 32, .original_length = 8192};
  mistral.family = Family::kMistral;
  mistral.sliding_window = 7;
  qwen2.family = Family::kQwen2;
  qwen2.rope_scaling = {.kind = tensor::RopeScaling::Kind::kYarn,
                        .factor = 4,
                        .original_length = 64,
                        .attention = 1.25};
  qwen3.family = Family::kQwen3;
  qwen3.head_dim = 6;
  qwen3.sliding_window = 9;
  qwen3.sliding_layers = {false, true};
  return {llama, mistral, qwen2, qwen3};
}

struct Model {
  explicit Model(const Config& config) : parameters(config, {}, plan) { plan.allocate(1 << 24, ""); }
  tensor::MemoryPlan plan;
  Parameters parameters;
};

class HuggingFaceTest : public testing::Test {
 protected:
  SystemFiles files_;
  const TemporaryFolder temporary_;
  const std::string folder_ = temporary_.path();
};

TEST_F(HuggingFaceTest, LoadsWhatItSaved) {
  for (const bool tied : {true, false}) {
    Model saved(small(tied));
    saved.parameters.initialize(3);
    save_huggingface(files_, folder_, {small(tied), 39}, saved.parameters);

    const HuggingFaceModel loaded = load_huggingface_config(files_, folder_);
    EXPECT_EQ(loaded.config, small(tied));
    EXPECT_EQ(loaded.end_of_text, 39);
    Model model(loaded.config);
    load_huggingface_weights(files_, folder_, model.parameters);
    EXPECT_TRUE(std::equal(saved.parameters.values().floats().begin(), saved.parameters.values().floats().end(),
                           model.parameters.values().floats().begin()));
    EXPECT_EQ(SafetensorsFile(folder_ + "/model.safetensors").find("lm_head.weight") == nullptr, tied);
  }
}

TEST_F(HuggingFaceTest, LoadsShards) {
  Model model(small(true));
  model.parameters.initialize(3);
  save_huggingface(files_, folder_, {small(true), std::nullopt}, model.parameters);
  files_.rename(folder_ + "/model.safetensors", folder_ + "/part-1.safetensors");
  std::string map;
  const SafetensorsFile whole(folder_ + "/part-1.safetensors");
  for (const auto& entry : whole.entries()) {
    map += (map.empty() ? "\"" : ", \"") + entry.name + "\": \"part-1.safetensors\"";
  }
  files_.replace(folder_ + "/model.safetensors.index.json", "{\"weight_map\": {" + map + "}}");
  Model loaded(small(true));
  load_huggingface_weights(files_, folder_, loaded.parameters);
  EXPECT_EQ(loaded.parameters.values().floats()[5], model.parameters.values().floats()[5]);

  files_.replace(folder_ + "/model.safetensors.index.json", R"({"weight_map": {"a": "../part-1.safetensors"}})");
  EXPECT_THROW(load_huggingface_weights(files_, folder_, loaded.parameters), Error);
}

TEST_F(HuggingFaceTest, WritesShardsOfAnyFamilyAndReplacesWhatWasThere) {
  for (const Config& config : families()) {
    for (const std::uint64_t bytes : {1'000'000, 3'000, 1}) {
      Model saved(config);
      saved.parameters.initialize(bytes);
      save_huggingface(files_, folder_, {config, 39}, saved.parameters, {.shard_bytes_max = bytes});
      const auto count = std::ranges::count_if(files_.list(folder_),
                                               [](const std::string& name) { return name.ends_with(".safetensors"); });
      if (bytes == 1'000'000) {
        EXPECT_EQ(count, 1);
      }
      if (bytes == 3'000) {
        EXPECT_GT(count, 2);
      }
      if (bytes == 1) {
        EXPECT_EQ(static_cast<std::size_t>(count), saved.parameters.layout().all().size());
      }
      const auto source = open_model(files_, folder_ + "/");
      EXPECT_EQ(source->format(), ModelFormat::kHuggingFace);
      ASSERT_EQ(source->model().config, config);
      Model loaded(config);
      source->load(loaded.parameters);
      EXPECT_TRUE(std::ranges::equal(saved.parameters.values().floats(), loaded.parameters.values().floats()));
    }
  }
}

TEST_F(HuggingFaceTest, RoundsToTheNearestBfloat16) {
  Model model(small(true));
  const std::span<float> values = model.parameters.value("model.norm.weight").floats();
  const std::pair<float, float> cases[] = {{1.0F, 1.0F},           {1.00390625F, 1.0F},    {1.01171875F, 1.015625F},
                                           {-1.005F, -1.0078125F}, {0x1p-130F, 0x1p-130F}, {INFINITY, INFINITY},
                                           {3.4e38F, INFINITY}};
  for (std::size_t i = 0; i < std::size(cases); ++i) values[i] = cases[i].first;
  values[10] = NAN;
  save_huggingface(files_, folder_, {small(true), 1}, model.parameters, {.type = WeightType::kBFloat16});
  Model loaded(small(true));
  open_model(files_, folder_)->load(loaded.parameters);
  const std::span<const float> read = loaded.parameters.value("model.norm.weight").floats();
  for (std::size_t i = 0; i < std::size(cases); ++i) EXPECT_EQ(read[i], cases[i].second) << i;
  EXPECT_TRUE(std::isnan(read[10]));
}

TEST_F(HuggingFaceTest, SaysWhatIsWrongWithTheWeights) {
  Model model(small(true));
  model.parameters.initialize(3);
  const auto failure = [&](const Config& config) -> std::string {
    Model other(config);
    try {
      load_huggingface_weights(files_, folder_, other.parameters);
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_THAT(failure(small(true)), HasSubstr("no Hugging Face checkpoint"));
  save_huggingface(files_, folder_, {small(true), std::nullopt}, model.parameters);
  EXPECT_EQ(failure(small(true)), "");
  EXPECT_THAT(failure(small(false)), HasSubstr("lacks the tensor lm_head.weight"));
  Config other = small(true);
  other.intermediate_size = 32;
  EXPECT_THAT(failure(other), HasSubstr("has the shape (24, 16), but config.json makes it (32, 16)"));
  other = small(true);
  other.num_hidden_layers = 1;
  EXPECT_THAT(failure(other), HasSubstr("for which this decoder has no place"));
  const std::string bytes = files_.read_all(folder_ + "/model.safetensors");
  files_.replace(folder_ + "/model.safetensors", bytes.substr(0, bytes.size() - 100));
  EXPECT_THAT(failure(small(true)), HasSubstr("cut off"));
}

TEST(HuggingFaceConfig, ReadsOldAndNewSpellings) {
  const std::string required =
      R"("model_type":"llama","vocab_size":40,"hidden_size":16,"intermediate_size":24,"num_hidden_layers":2,"num_attention_heads":4)";
  HuggingFaceModel model = huggingface_config_from_json("{" + required + "}", "config.json");
  EXPECT_EQ(model.config.head_dim, 4);
  EXPECT_EQ(model.config.num_key_value_heads, 4);
  EXPECT_FALSE(model.config.tie_word_embeddings);
  EXPECT_EQ(model.end_of_text, std::nullopt);
  model = huggingface_config_from_json(
      "{" + required + R"(,"rope_parameters":{"rope_type":"default","rope_theta":500000.0},"eos_token_id":[7,8]})",
      "x");
  EXPECT_EQ(model.config.rope_theta, 500'000);
  EXPECT_EQ(model.end_of_text, 7);
}

TEST(HuggingFaceConfig, IsReadAsItWasWrittenForEveryFamily) {
  for (const Config& config : families()) {
    const HuggingFaceModel model{.config = config,
                                 .end_of_text = 3,
                                 .other_ends = {5, 4},
                                 .begin_of_text = 1,
                                 .padding = 0};
    const HuggingFaceModel again = huggingface_config_from_json(huggingface_config_to_json(model), "written");
    EXPECT_EQ(again.config, config);
    EXPECT_EQ(again.end_of_text, 3);
    EXPECT_EQ(again.other_ends, model.other_ends);
    EXPECT_EQ(again.begin_of_text, 1);
    EXPECT_EQ(again.padding, 0);
  }
}

TEST(HuggingFaceConfig, WindowsFollowTheFamily) {
  const std::string common =
      R"("vocab_size":40,"hidden_size":16,"intermediate_size":24,"num_hidden_layers":4,"num_attention_heads":4)";
  const auto windows = [&](const std::string& fields) {
    const Config config = huggingface_config_from_json("{" + common + "," + fields + "}", "x").config;
    std::vector<std::int64_t> all;
    for (std::int64_t l = 0; l < 4; ++l) all.push_back(config.window(l));
    return all;
  };
  using Windows = std::vector<std::int64_t>;
  EXPECT_EQ(windows(R"("model_type":"mistral")"), (Windows{4096, 4096, 4096, 4096}));
  EXPECT_EQ(windows(R"("model_type":"mistral","sliding_window":null)"), (Windows{0, 0, 0, 0}));
  EXPECT_EQ(windows(R"("model_type":"llama","sliding_window":5)"), (Windows{0, 0, 0, 0}));
  EXPECT_EQ(windows(R"("model_type":"qwen2","sliding_window":5,"max_window_layers":2)"), (Windows{0, 0, 0, 0}));
  const std::string used = R"("model_type":"qwen2","sliding_window":5,"use_sliding_window":true,"max_window_layers":)";
  EXPECT_EQ(windows(used + "2"), (Windows{0, 0, 5, 5}));
  EXPECT_EQ(windows(used + "0"), (Windows{5, 5, 5, 5}));
  EXPECT_EQ(windows(used + "9"), (Windows{0, 0, 0, 0}));
}

TEST(HuggingFaceConfig, TheMakersAdviceOnGenerationIsKept) {
  HuggingFaceModel model{.config = small(true), .end_of_text = 3};
  add_generation_config(model, R"({"temperature":0.6,"top_p":0.9,"eos_token_id":[8,9]})", "generation_config.json");
  EXPECT_EQ(model.end_of_text, 8);
  EXPECT_EQ(model.other_ends, std::vector<TokenId>{9});
  const std::string text = generation_config_to_json(model);
  for (const char* part : {"\"temperature\": 6E-1", "\"top_p\": 9E-1", "\"eos_token_id\": [8,9]"}) {
    EXPECT_THAT(text, HasSubstr(part));
  }
}

TEST(HuggingFaceConfig, RefusesByName) {
  const std::string good = huggingface_config_to_json({small(true), 3});
  const std::vector<std::array<std::string, 3>> cases{
      {"\"llama\"", "\"gpt2\"", "gpt2"},
      {"\"silu\"", "\"gelu\"", "gelu"},
      {"\"attention_bias\": false", "\"attention_bias\": true", "attention_bias"},
      {"\"mlp_bias\": false", "\"mlp_bias\": true", "mlp_bias"},
      {"\"rope_scaling\": null", R"("rope_scaling": {"rope_type":"dynamic","factor":8})", "dynamic"},
      {"\"rope_scaling\": null", R"("rope_scaling": {"rope_type":"llama3","factor":8})", "low_freq_factor"},
      {"\"use_cache\": true", R"("quantization_config": {"bits": 4})", "quantized"},
      {"\"hidden_size\": 16", "\"hidden_size\": \"16\"", "hidden_size"},
      {"\"vocab_size\": 40", "\"vocab_size\": 0", "vocab"},
      {"\"vocab_size\": 40,", "", "vocab_size"},
      {"\"num_key_value_heads\": 2", "\"num_key_value_heads\": 3", "num_key_value_heads"},
      {"\"num_attention_heads\": 4", "\"num_attention_heads\": 0", "heads"},
      {"{", "[", "config.json"},
  };
  for (const auto& [from, to, expected] : cases) {
    std::string text = good;
    const auto at = text.find(from);
    ASSERT_NE(at, std::string::npos) << from;
    text.replace(at, from.size(), to);
    try {
      (void)huggingface_config_from_json(text, "config.json");
      ADD_FAILURE() << to << " was accepted";
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), HasSubstr(expected));
    }
  }
}

}  // namespace
}  // namespace athanor::model
