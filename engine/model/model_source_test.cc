#include "engine/model/model_source.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "common/error.h"
#include "common/temporary_folder.h"

namespace athanor::model {
namespace {

using testing::HasSubstr;

class ModelSourceTest : public testing::Test {
 protected:
  std::string refusal(const std::string& name) {
    try {
      (void)open_model(files_, folder_ + "/" + name);
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  }
  SystemFiles system_;
  Files& files_ = system_;
  const TemporaryFolder temporary_;
  const std::string folder_ = temporary_.path();
};

TEST_F(ModelSourceTest, SaysWhatWasFoundAndWhatWouldDo) {
  EXPECT_THAT(refusal("absent"), HasSubstr("does not exist"));
  files_.make_folders(folder_ + "/empty");
  EXPECT_THAT(refusal("empty"), HasSubstr("has no config.json"));
  files_.make_folders(folder_ + "/gguf");
  files_.replace(folder_ + "/gguf/a.gguf", "GGUF");
  EXPECT_THAT(refusal("gguf"), HasSubstr("name that: " + folder_ + "/gguf/a.gguf"));
  EXPECT_THAT(refusal("gguf/a.gguf"), HasSubstr("no whole GGUF file"));
  files_.replace(folder_ + "/model.safetensors", "12345678");
  EXPECT_THAT(refusal("model.safetensors"), HasSubstr("name its folder"));
  files_.replace(folder_ + "/model.pt", "PK\x03\x04 and so on");
  EXPECT_THAT(refusal("model.pt"), HasSubstr("save the model as safetensors"));
  files_.replace(folder_ + "/empty.bin", "");
  EXPECT_THAT(refusal("empty.bin"), HasSubstr("what would do: a folder with config.json"));
  files_.replace(folder_ + "/text.bin", "Once upon a time there was a file that is no model at all");
  EXPECT_THAT(refusal("text.bin"), HasSubstr("what would do: a folder with config.json"));
}

TEST_F(ModelSourceTest, ReadsLlama2csTensorsWhereTheyLie) {
  // One layer of each kind numbered through, so that a tensor tells where it came from.
  for (const bool tied : {true, false}) {
    const std::int32_t C = 4, F = 3, L = 2, H = 2, G = 1, V = 5, T = 6, D = 2;
    const std::int32_t header[] = {C, F, L, H, G, tied ? V : -V, T};
    const std::int32_t count =
        V * C + L * (C + C * C + 2 * G * D * C + C * C + C + 3 * F * C) + C + T * D + (tied ? 0 : V * C);
    std::string bytes(reinterpret_cast<const char*>(header), sizeof header);
    for (std::int32_t i = 0; i < count; ++i) {
      const auto value = static_cast<float>(i);
      bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
    }
    files_.replace(folder_ + "/model.bin", bytes);
    const auto source = open_model(files_, folder_ + "/model.bin");
    EXPECT_EQ(source->format(), ModelFormat::kLlama2c);
    const Config& config = source->model().config;
    EXPECT_EQ(config.head_dim, D);
    EXPECT_EQ(config.max_position_embeddings, T);
    EXPECT_EQ(config.tie_word_embeddings, tied);
    tensor::MemoryPlan plan;
    Parameters parameters(config, {}, plan);
    plan.allocate(1 << 20, "");
    source->load(parameters);
    const std::int32_t norms = V * C, queries = norms + L * C, keys = queries + L * C * C;
    EXPECT_EQ(parameters.value("model.embed_tokens.weight").floats()[7], 7);
    EXPECT_EQ(parameters.value("model.layers.1.input_layernorm.weight").floats()[0], static_cast<float>(norms + C));
    // Heads of two elements are one pair: both layouts are the same.
    EXPECT_EQ(parameters.value("model.layers.1.self_attn.q_proj.weight").floats()[1],
              static_cast<float>(queries + C * C + 1));
    EXPECT_EQ(parameters.value("model.layers.1.self_attn.k_proj.weight").floats()[0],
              static_cast<float>(keys + G * D * C));
    if (!tied) {
      EXPECT_EQ(parameters.value("lm_head.weight").floats()[V * C - 1], static_cast<float>(count - 1));
    }
    files_.replace(folder_ + "/model.bin", bytes + "more");
    EXPECT_THAT(refusal("model.bin"), HasSubstr("its header makes it"));
  }
}

TEST(HalvesFromPairs, BringsTheElementsOfAPairHalfAHeadApart) {
  std::vector<float> matrix;  // 2 heads of 6 rows of 2
  for (int i = 0; i < 24; ++i) matrix.push_back(static_cast<float>(i));
  halves_from_pairs(matrix, 2, 6);
  std::vector<float> rows;
  for (std::size_t i = 0; i < 24; i += 2) {
    EXPECT_EQ(matrix[i + 1], matrix[i] + 1);
    rows.push_back(matrix[i] / 2);
  }
  EXPECT_EQ(rows, (std::vector<float>{0, 2, 4, 1, 3, 5, 6, 8, 10, 7, 9, 11}));
}

}  // namespace
}  // namespace athanor::model
