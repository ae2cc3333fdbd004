// What must hold of the decoder by itself; tests/engine compares every number of it with PyTorch's.
#include "engine/model/decoder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "common/random.h"
#include "engine/model/decoder_cached.h"
#include "engine/tensor/cross_entropy.h"

namespace athanor::model {
namespace {

using tensor::Context;
using tensor::MemoryPlan;
using tensor::Tensor;

Config small_config(bool tied = true) {
  return {.vocab_size = 61,
          .hidden_size = 24,
          .intermediate_size = 40,
          .num_hidden_layers = 3,
          .num_attention_heads = 4,
          .num_key_value_heads = 2,
          .head_dim = 10,
          .max_position_embeddings = 128,
          .tie_word_embeddings = tied,
          .initializer_range = 0.2};
}

// One of every family, with a window within the lengths that are tested.
std::vector<Config> families() {
  Config mistral = small_config(), qwen2 = small_config(false), qwen3 = small_config();
  mistral.family = Family::kMistral;
  mistral.sliding_window = 9;
  qwen2.family = Family::kQwen2;
  qwen2.sliding_window = 5;
  qwen2.sliding_layers = {false, true, true};
  qwen3.family = Family::kQwen3;
  qwen3.rope_scaling = {.kind = tensor::RopeScaling::Kind::kLlama3, .factor = 8, .original_length = 32};
  return {small_config(true), small_config(false), mistral, qwen2, qwen3};
}

struct Model {
  Model(const Config& config, const DecoderSizes& sizes, int threads = 2)
      : Model(config, sizes, {.gradients = sizes.backward ? std::optional(tensor::DType::kFloat32) : std::nullopt},
              threads) {}
  Model(const Config& config, const DecoderSizes& sizes, const ParameterTypes& types, int threads = 2)
      : context(threads),
        parameters(config, types, plan),
        decoder(context, parameters, sizes, plan),
        cached(context, parameters, {.length_max = sizes.length_max, .chunk_max = 5}, plan) {
    plan.allocate(1 << 28, "");
    parameters.initialize(11);
  }
  MemoryPlan plan;
  Context context;
  Parameters parameters;
  Decoder decoder;
  CachedDecoder cached;
};

struct Batch {
  Batch(std::int64_t B, std::int64_t T, std::uint64_t seed = 5) : B(B), T(T) {
    SeededRandom random(seed);
    for (std::int64_t i = 0; i < B * T; ++i) ids.push_back(static_cast<std::int32_t>(random.below(61)));
    for (std::int64_t i = 0; i < B * T; ++i) next.push_back(static_cast<std::int32_t>(random.below(61)));
  }
  Tensor tokens() { return Tensor::of(ids.data(), {B, T}); }
  Tensor targets() { return Tensor::of(next.data(), {B, T}); }
  Batch part(std::int64_t begin, std::int64_t end) const {
    Batch part = *this;
    part.B = end - begin;
    part.ids.assign(ids.begin() + begin * T, ids.begin() + end * T);
    part.next.assign(next.begin() + begin * T, next.begin() + end * T);
    return part;
  }
  std::int64_t B, T;
  std::vector<std::int32_t> ids, next;
};

TEST(Parameters, LieWithoutGapsInsideAProductAndKeepTheirNames) {
  for (const Config& config : families()) {
    MemoryPlan plan;
    const Parameters parameters(config, {.gradients = tensor::DType::kFloat32}, plan);
    std::int64_t count = 0, end = 0;
    for (const ParameterInfo& info : parameters.layout().all()) {
      EXPECT_GE(info.offset, end);
      end = info.offset + info.count;
      count += info.count;
      EXPECT_EQ(info.decays, info.shape.size() == 2);
      EXPECT_EQ(&parameters.layout().find(info.name), &info);
    }
    EXPECT_EQ(count, parameter_count(config));
    EXPECT_LE(end, parameters.layout().size());
    const auto& q = parameters.layout().find("model.layers.1.self_attn.q_proj.weight");
    const auto& k = parameters.layout().find("model.layers.1.self_attn.k_proj.weight");
    EXPECT_EQ(k.offset, q.offset + q.count);
    EXPECT_THROW(parameters.layout().find("model.layers.3.mlp.up_proj.weight"), Error);
  }
}

TEST(Parameters, InitializationIsNormalAndDependsOnTheSeedAlone) {
  Config config = small_config(false);
  config.vocab_size = 5000;
  config.initializer_range = 0.02;
  Model a(config, {}), b(config, {}, 1);
  EXPECT_THAT(a.parameters.values().floats(), testing::ElementsAreArray(b.parameters.values().floats()));
  double sum = 0, squares = 0;
  const auto table = a.parameters.value("lm_head.weight").floats();
  for (const float x : table) sum += x, squares += static_cast<double>(x) * x;
  EXPECT_NEAR(sum / static_cast<double>(table.size()), 0, 2e-4);
  EXPECT_NEAR(std::sqrt(squares / static_cast<double>(table.size())), 0.02, 2e-4);
  EXPECT_NE(table[0], a.parameters.value("model.embed_tokens.weight").floats()[0]);
  b.parameters.initialize(12);
  EXPECT_NE(table[0], b.parameters.value("lm_head.weight").floats()[0]);
}

TEST(Decoder, RefusesAnImpossibleConfigByField) {
  for (const auto& [change, name] : std::vector<std::pair<std::function<void(Config&)>, const char*>>{
           {[](Config& c) { c.vocab_size = 0; }, "vocab_size"},
           {[](Config& c) { c.head_dim = 7; }, "head_dim"},
           {[](Config& c) { c.num_key_value_heads = 3; }, "num_key_value_heads"},
           {[](Config& c) { c.rms_norm_eps = 0; }, "rms_norm_eps"},
           {[](Config& c) { c.num_hidden_layers = 1LL << 40; }, "num_hidden_layers"}}) {
    Config config = small_config();
    change(config);
    try {
      check(config);
      ADD_FAILURE() << name;
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), testing::HasSubstr(name));
    }
  }
}

TEST(Decoder, LossIsTheSameWithAndWithoutBackwardAndOnAnyThreads) {
  Batch batch(3, 70);
  Model plain(small_config(), {.batch_max = 3, .length_max = 70}, 1);
  Model full(small_config(), {.batch_max = 4, .length_max = 80, .backward = true}, 3);
  const double loss = plain.decoder.loss(batch.tokens(), batch.targets());
  EXPECT_GT(loss / 210, 1);
  EXPECT_NEAR(full.decoder.loss(batch.tokens(), batch.targets()), loss, 1e-6 * loss);
  EXPECT_NEAR(full.decoder.forward_backward(batch.tokens(), batch.targets(), 1), loss, 1e-6 * loss);
}

// The directional derivative along the gradient itself, by central differences.
TEST(Decoder, GradientIsTheSlopeOfTheLoss) {
  for (const Config& config : families()) {
    Batch batch(2, 67);
    Model model(config, {.batch_max = 2, .length_max = 67, .backward = true});
    model.decoder.forward_backward(batch.tokens(), batch.targets(), 1.0F / 134);
    const auto gradient = model.parameters.gradients().floats();
    const auto values = model.parameters.values().floats();
    const std::vector<float> start(values.begin(), values.end());
    double squares = 0;
    for (const float g : gradient) squares += static_cast<double>(g) * g;
    const double step = 1e-3 / std::sqrt(squares);
    const auto loss_at = [&](double distance) {
      for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(start[i] + distance * gradient[i]);
      return model.decoder.loss(batch.tokens(), batch.targets()) / 134;
    };
    const double slope = (loss_at(step) - loss_at(-step)) / (2 * step);
    EXPECT_NEAR(slope / squares, 1, 2e-3);
  }
}

TEST(Decoder, GradientsOfMicroBatchesAddUp) {
  Batch batch(5, 33);
  Model whole(small_config(), {.batch_max = 5, .length_max = 33, .backward = true});
  Model parts(small_config(), {.batch_max = 2, .length_max = 33, .backward = true});
  const double loss = whole.decoder.forward_backward(batch.tokens(), batch.targets(), 0.25F);
  double sum = 0;
  for (const auto& [begin, end] : {std::pair{0, 2}, {2, 4}, {4, 5}}) {
    Batch part = batch.part(begin, end);
    sum += parts.decoder.forward_backward(part.tokens(), part.targets(), 0.25F);
  }
  EXPECT_NEAR(sum, loss, 1e-6 * loss);
  double difference = 0, norm = 0;
  const auto a = whole.parameters.gradients().floats(), b = parts.parameters.gradients().floats();
  for (std::size_t i = 0; i < a.size(); ++i) {
    difference += std::pow(static_cast<double>(a[i]) - b[i], 2);
    norm += std::pow(static_cast<double>(a[i]), 2);
  }
  EXPECT_LT(std::sqrt(difference / norm), 1e-5);
}

TEST(Decoder, WeighsSequencesByWhatAllOfThemLose) {
  for (const Recompute recompute : {Recompute::kLittle, Recompute::kLayer}) {
    Batch batch(4, 33);
    Model together(small_config(), {.batch_max = 4, .length_max = 33, .backward = true, .recompute = recompute});
    Model apart(small_config(), {.batch_max = 1, .length_max = 33, .backward = true});
    std::vector<double> losses(4), seen;
    together.decoder.losses(batch.tokens(), batch.targets(), losses);
    together.decoder.forward_backward(batch.tokens(), batch.targets(),
                                      [&](std::span<const double> found, std::span<float> weights) {
                                        seen.assign(found.begin(), found.end());
                                        for (std::size_t b = 0; b < 4; ++b) {
                                          weights[b] = static_cast<float>((found[b] - found[3 - b]) / 10 + 0.5);
                                        }
                                      });
    EXPECT_EQ(seen, losses);
    for (std::int64_t b = 0; b < 4; ++b) {
      Batch one = batch.part(b, b + 1);
      const auto at = static_cast<std::size_t>(b);
      const auto weight = static_cast<float>((losses[at] - losses[3 - at]) / 10 + 0.5);
      EXPECT_NEAR(apart.decoder.forward_backward(one.tokens(), one.targets(), weight), losses[at], 1e-5 * losses[at]);
    }
    double difference = 0, norm = 0;
    const auto a = together.parameters.gradients().floats(), b = apart.parameters.gradients().floats();
    for (std::size_t i = 0; i < a.size(); ++i) {
      difference += std::pow(static_cast<double>(a[i]) - b[i], 2);
      norm += std::pow(static_cast<double>(b[i]), 2);
    }
    EXPECT_LT(std::sqrt(difference / norm), 1e-5);
  }
}

TEST(Decoder, RecomputingSavesMemoryAndChangesNoBit) {
  for (const Config& config : families()) {
    Batch batch(2, 67);
    std::vector<double> losses;
    std::vector<std::vector<float>> gradients;
    std::vector<std::uint64_t> bytes;
    const std::int64_t all_layers = config.num_hidden_layers;
    std::vector<std::pair<Recompute, std::int64_t>> ladder = {{Recompute::kLittle, all_layers}};
    for (const Recompute recompute : {Recompute::kGateUp, Recompute::kLayer}) {
      for (std::int64_t layers = 1; layers <= all_layers; ++layers) ladder.emplace_back(recompute, layers);
    }
    for (const auto& [recompute, layers] : ladder) {
      Model model(config, {.batch_max = 2,
                           .length_max = 67,
                           .backward = true,
                           .recompute = recompute,
                           .recompute_layers = layers});
      losses.push_back(model.decoder.forward_backward(batch.tokens(), batch.targets(), 1.0F / 134));
      const auto all = model.parameters.gradients().floats();
      gradients.emplace_back(all.begin(), all.end());
      bytes.push_back(model.plan.bytes());
    }
    EXPECT_GT(bytes[0], bytes[static_cast<std::size_t>(all_layers)]);  // a first layer alone shares with none
    for (std::size_t i = 1; i < ladder.size(); ++i) {
      EXPECT_LE(bytes[i], bytes[i - 1]);
      EXPECT_EQ(losses[i], losses[0]);
      EXPECT_EQ(gradients[i], gradients[0]);
    }
    EXPECT_GT(bytes[static_cast<std::size_t>(all_layers)], bytes.back());
  }
}

// Where gradients are replaced, what was in their memory before does not matter, and activations have had it.
TEST(Decoder, GradientsThatAreMadeAnewAreTheSameInLessMemory) {
  for (const Config& config : families()) {
    for (const tensor::DType type : {tensor::DType::kFloat32, tensor::DType::kBFloat16}) {
      for (const Recompute recompute : {Recompute::kLittle, Recompute::kGateUp, Recompute::kLayer}) {
        const DecoderSizes sizes{.batch_max = 2, .length_max = 67, .backward = true, .recompute = recompute};
        Model added(config, sizes, {.values = type, .gradients = type, .masters = true});
        Model anew(config, sizes, {.values = type, .gradients = type, .masters = true, .gradients_anew = true});
        EXPECT_LT(anew.plan.bytes(), added.plan.bytes());
        const Tensor expected = added.parameters.gradients(), gradients = anew.parameters.gradients();
        for (const std::uint64_t seed : {5, 6}) {  // the second meets what the first has left
          Batch batch(2, 67, seed);
          std::memset(expected.data(), 0, expected.bytes());
          std::memset(gradients.data(), 0xFF, gradients.bytes());
          EXPECT_EQ(anew.decoder.forward_backward(batch.tokens(), batch.targets(), 1.0F / 134),
                    added.decoder.forward_backward(batch.tokens(), batch.targets(), 1.0F / 134));
          EXPECT_EQ(std::memcmp(gradients.data(), expected.data(), gradients.bytes()), 0);
        }
      }
    }
  }
}

// Against the decoder in float32 with the same values: what is left is the rounding of activations, of which each of the
// some forty in a row adds 2⁻⁹ or so. tests/engine measures the error itself, beside PyTorch's.
TEST(Decoder, InBFloat16IsTheSameDecoder) {
  for (const Config& config : families()) {
    const std::int64_t B = 3, T = 67, V = 61;
    Batch batch(B, T);
    const DecoderSizes sizes{.batch_max = B, .length_max = T, .backward = true};
    Model wide(config, sizes);
    std::vector<float> expected(static_cast<std::size_t>(B * T * V)), logits(expected.size());
    double expected_loss = 0;
    for (const tensor::DType gradients : {tensor::DType::kFloat32, tensor::DType::kBFloat16}) {
      Model narrow(config, sizes, {.values = tensor::DType::kBFloat16, .gradients = gradients, .masters = true});
      for (const ParameterInfo& info : narrow.parameters.layout().all()) {
        const Tensor values = narrow.parameters.value(info.name);
        const std::vector<float> rounded(values.bfloats().begin(), values.bfloats().end());
        wide.parameters.set(info, 0, rounded);
      }
      if (expected_loss == 0) {
        wide.decoder.logits(batch.tokens(), Tensor::of(expected.data(), {B * T, V}));
        expected_loss = wide.decoder.forward_backward(batch.tokens(), batch.targets(), 1.0F / (B * T));
      }
      narrow.decoder.logits(batch.tokens(), Tensor::of(logits.data(), {B * T, V}));
      const auto error = [](auto a, auto b) {
        double difference = 0, norm = 0;
        for (std::size_t i = 0; i < b.size(); ++i) {
          difference += std::pow(static_cast<double>(a[i]) - b[i], 2);
          norm += std::pow(static_cast<double>(b[i]), 2);
        }
        return std::sqrt(difference / norm);
      };
      EXPECT_LT(error(logits, expected), 0.02);
      EXPECT_NEAR(narrow.decoder.forward_backward(batch.tokens(), batch.targets(), 1.0F / (B * T)), expected_loss,
                  2e-3 * expected_loss);
      const Tensor found = narrow.parameters.gradients();
      const std::vector<double> flat = found.type() == tensor::DType::kFloat32
                                           ? std::vector<double>(found.floats().begin(), found.floats().end())
                                           : std::vector<double>(found.bfloats().begin(), found.bfloats().end());
      EXPECT_LT(error(flat, wide.parameters.gradients().floats()), 0.05);
      // The first text a token at a time.
      std::vector<float> step_by_step;
      for (std::int64_t t = 0; t < T; ++t) {
        const auto row = narrow.cached.step(std::span(batch.ids).subspan(static_cast<std::size_t>(t), 1));
        step_by_step.insert(step_by_step.end(), row.begin(), row.end());
      }
      EXPECT_LT(error(step_by_step, std::span(expected).first(static_cast<std::size_t>(T * V))), 0.02);
    }
  }
}

TEST(CachedDecoder, GivesTheLogitsOfTheWholeSequenceHoweverItIsCut) {
  for (const Config& config : families()) {
    const std::int64_t T = 40, V = 61;
    Batch batch(1, T);
    Model model(config, {.batch_max = 1, .length_max = T});
    std::vector<float> all(static_cast<std::size_t>(T * V));
    model.decoder.logits(batch.tokens(), Tensor::of(all.data(), {T, V}));
    for (const std::int64_t first : {1, 4, 5, 6, 23, 40}) {
      model.cached.reset();
      for (std::int64_t done = 0; done < T;) {
        const std::int64_t count = done == 0 ? first : 1;
        const auto logits = model.cached.step(
            std::span(batch.ids).subspan(static_cast<std::size_t>(done), static_cast<std::size_t>(count)));
        done += count;
        ASSERT_EQ(model.cached.length(), done);
        for (std::int64_t v = 0; v < V; ++v) {
          ASSERT_NEAR(logits[static_cast<std::size_t>(v)], all[static_cast<std::size_t>((done - 1) * V + v)], 2e-5);
        }
      }
    }
  }
}

TEST(CachedDecoder, SequencesDoNotSeeEachOther) {
  for (const Config& config : families()) {
    const std::int64_t T = 20, V = 61;
    Batch batch(1, 3 * T);
    Model model(config, {.batch_max = 1, .length_max = T});
    tensor::MemoryPlan plan;
    CachedDecoder three(model.context, model.parameters, {.length_max = T, .chunk_max = 7, .sequences = 3}, plan);
    plan.allocate(1 << 26, "");
    const std::span<const std::int32_t> ids(batch.ids);
    const auto part = [&](std::int64_t sequence, std::int64_t begin, std::int64_t end) {
      return CachedDecoder::Piece{sequence, ids.subspan(static_cast<std::size_t>(sequence * T + begin),
                                                        static_cast<std::size_t>(end - begin))};
    };
    const std::vector<std::vector<CachedDecoder::Piece>> steps{{part(2, 0, 5), part(0, 0, 1)},
                                                               {part(1, 0, 11)},
                                                               {part(0, 1, 4), part(1, 11, 12), part(2, 5, 6)},
                                                               {part(1, 12, 20), part(2, 6, 20), part(0, 4, 5)}};
    for (const auto& pieces : steps) {
      const Tensor found = three.step(pieces);
      for (std::size_t p = 0; p < pieces.size(); ++p) {
        const auto& [sequence, tokens] = pieces[p];
        model.cached.reset();
        const auto expected = model.cached.step(
            ids.subspan(static_cast<std::size_t>(sequence * T), static_cast<std::size_t>(three.length(sequence))));
        for (std::int64_t v = 0; v < V; ++v) {
          ASSERT_NEAR(found.rows(static_cast<std::int64_t>(p), static_cast<std::int64_t>(p) + 1)
                          .floats()[static_cast<std::size_t>(v)],
                      expected[static_cast<std::size_t>(v)], 2e-5);
        }
      }
    }
  }
}

}  // namespace
}  // namespace athanor::model
