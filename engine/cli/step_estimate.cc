#include "engine/cli/step_estimate.h"

#include <algorithm>

#include "engine/tensor/adamw8.h"
#include "engine/tensor/orthogonalize.h"
#include "engine/train/optimizer.h"

namespace athanor::llm {

namespace {

// What operators reach of the machine's rates (docs/engine.md, where the time goes): attention in tiles of float32's products;
// norms, RoPE and SwiGLU of memory.
constexpr double kAttentionPart = 0.5, kElementwisePart = 0.5;

// Elements that norms, RoPE and SwiGLU read and write in a layer, for a token: forward, once more where backward needs it, backward.
double elementwise_traffic(const model::Config& c) {
  const auto C = static_cast<double>(c.hidden_size), F = static_cast<double>(c.intermediate_size);
  const auto turned = static_cast<double>((c.num_attention_heads + c.num_key_value_heads) * c.head_dim);
  const double swiglu = 2 * 3 * F + 5 * F, norms = 2 * (4 * C + 2 * C + 4 * C), rope = 2 * 2 * turned;
  return swiglu + norms + rope;
}

// Newton-Schulz: X · Xᵀ, its square, and their product with X.
double muon_flops(const model::Layout& trained) {
  double flops = 0;
  for (const model::ParameterInfo& info : trained.all()) {
    if (!train::by_muon(info)) continue;
    const auto n = static_cast<double>(std::min(info.shape[0], info.shape[1]));
    const auto m = static_cast<double>(std::max(info.shape[0], info.shape[1]));
    flops += tensor::kOrthogonalizeSteps * (4 * n * n * m + 2 * n * n * n);
  }
  return flops;
}

// What an update reads and writes: values with what their masters add, and moments; gradients, read once more for their norm.
double update_bytes(const model::Layout& trained, const std::string& optimizer, bool narrow) {
  const double values = narrow ? 2 * (2 + 2) : 2 * 4, gradients = narrow ? 2 * 2 : 2 * 4;
  double bytes = 0;
  for (const model::ParameterInfo& info : trained.all()) {
    double moments = 2 * 2 * 4;
    if (optimizer == "adamw8") moments = 2 * 2 * (1 + 4.0 / tensor::kMoments8Block);
    if (optimizer == "muon" && train::by_muon(info)) moments = 2 * 4;
    bytes += static_cast<double>(info.count) * (values + gradients + moments);
  }
  return bytes;
}

}  // namespace

StepEstimate estimate_step(const model::Config& config, const train::TrainOptions& options,
                           const model::Layout& trained, const model::DecoderSizes& sizes, std::int64_t rows, int ranks,
                           const SustainedRates& rates) {
  const std::int64_t L = config.num_hidden_layers;
  const auto C = static_cast<double>(config.hidden_size), F = static_cast<double>(config.intermediate_size);
  const double head = static_cast<double>(config.vocab_size) * C;
  model::TrainingFlops token =
      model::training_flops_per_token(config, options.length, options.lora_rank > 0 ? trained.size() : 0);
  const model::TrainingFlops whole = model::training_flops_per_token(config, options.length);
  const model::TrainingFlops forward{.products = (whole.products / 6 - head) * 2 / static_cast<double>(L),
                                     .attention = whole.attention / 3 / static_cast<double>(L)};
  for (std::int64_t layer = 0; layer < L; ++layer) {
    const model::Recompute again = sizes.recompute_of(layer);
    if (again == model::Recompute::kGateUp) token.products += 4 * C * F;
    if (again != model::Recompute::kLayer) continue;
    token.products += forward.products;
    token.attention += forward.attention;
  }
  if (rows > 1) token.products += 2 * head;  // preferences need all log-probabilities before the first gradient

  const double tokens = static_cast<double>(options.batch * rows) * static_cast<double>(options.length);
  const bool narrow = train::dtype_of(options.dtype) == tensor::DType::kBFloat16;
  const double elementwise_bytes = static_cast<double>(L) * elementwise_traffic(config) * (narrow ? 2 : 4);
  const double muon = options.optimizer == "muon" ? muon_flops(trained) : 0;
  return {.flops = tokens * token.all() + static_cast<double>(ranks) * muon,
          .seconds = tokens / ranks *
                         (token.products / rates.products + token.attention / (kAttentionPart * rates.attention) +
                          elementwise_bytes / (kElementwisePart * rates.bytes)) +
                     update_bytes(trained, options.optimizer, narrow) / rates.bytes + muon / rates.products};
}

}  // namespace athanor::llm
