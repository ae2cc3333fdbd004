#include "engine/model/huggingface.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

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

struct Model {
  explicit Model(const Config& config) : parameters(config, false, plan) { plan.allocate(1 << 24, ""); }
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
      "{" + required + R"(,"rope_parameters":{"rope_type":"default","rope_theta":500000.0},"eos_token_id":[7,8]})", "x");
  EXPECT_EQ(model.config.rope_theta, 500'000);
  EXPECT_EQ(model.end_of_text, 7);
}

TEST(HuggingFaceConfig, RefusesByName) {
  const std::string good = huggingface_config_to_json({small(true), 3});
  const std::vector<std::array<std::string, 3>> cases{
      {"\"llama\"", "\"gpt2\"", "gpt2"},
      {"\"silu\"", "\"gelu\"", "gelu"},
      {"\"attention_bias\": false", "\"attention_bias\": true", "attention_bias"},
      {"\"mlp_bias\": false", "\"mlp_bias\": true", "mlp_bias"},
      {"\"rope_scaling\": null", R"("rope_scaling": {"rope_type":"llama3","factor":8})", "llama3"},
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
