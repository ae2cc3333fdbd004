// A program for the comparison of whole models with transformers and gguf (tests/engine): opens a model as open_model()
// does, and computes or converts.
//
//   model-probe run MODEL IN OUT               tokens, targets and perhaps document_starts (B, T) from the safetensors file
//                                              IN: logits, every gradient of the mean loss, and the logits of the cached
//                                              decoder for the first sequence, to OUT; prints the mean loss
//   model-probe convert MODEL FOLDER [f32|bf16] [SHARD_BYTES]      writes a Hugging Face checkpoint
//   model-probe greedy MODEL COUNT ID...       prints the likeliest COUNT tokens after the given ones
//   model-probe packed MODEL IN OUT            the logits of the cached decoder with the weights as they are stored, (B, T, V),
//                                              for the tokens in IN, the B sequences step by step together, to OUT
//   model-probe distribution TEMPERATURE TOP_K TOP_P MIN_P PENALTY IN OUT    what is drawn from, as probabilities (V), for
//                                              the `logits` (V) and the tokens `seen` in IN
//   model-probe dequantize TYPE IN OUT         GGUF's blocks of a type's number, as float32
#include <cstdio>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "common/error.h"
#include "common/files.h"
#include "engine/model/decoder.h"
#include "engine/model/decoder_cached.h"
#include "engine/model/generate.h"
#include "engine/model/gguf_blocks.h"
#include "engine/model/huggingface.h"
#include "engine/model/model_source.h"
#include "engine/model/safetensors.h"
#include "engine/tensor/available_memory.h"
#include "engine/tensor/cross_entropy.h"

namespace athanor::model {
namespace {

using tensor::Tensor;

constexpr const char* kAdvice = "Take a smaller model";

std::vector<std::int32_t> read_ints(const SafetensorsFile& file, const char* name) {
  const SafetensorsEntry* entry = file.find(name);
  if (entry == nullptr) return {};
  const std::string_view bytes = file.bytes(*entry);
  std::vector<std::int32_t> values(bytes.size() / sizeof(std::int32_t));
  std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

void run(const std::string& path, const std::string& in, const std::string& out) {
  SystemFiles files;
  const auto source = open_model(files, path);
  const Config& config = source->model().config;
  const SafetensorsFile given(in);
  const SafetensorsEntry* entry = given.find("tokens");
  if (entry == nullptr) throw Error(ErrorKind::kInvalid, "Probing: {} has no tokens", in);
  const std::int64_t B = entry->shape.at(0), T = entry->shape.at(1), V = config.vocab_size;
  std::vector<std::int32_t> ids = read_ints(given, "tokens"), next = read_ints(given, "targets"),
                            begins = read_ints(given, "document_starts");
  const Tensor tokens = Tensor::of(ids.data(), {B, T}), targets = Tensor::of(next.data(), {B, T});
  const Tensor starts = begins.empty() ? Tensor() : Tensor::of(begins.data(), {B, T});

  tensor::Context context(2);
  tensor::MemoryPlan plan;
  Parameters parameters(config, {.gradients = tensor::DType::kFloat32}, plan);
  Decoder decoder(context, parameters, {.batch_max = B, .length_max = T, .backward = true}, plan);
  CachedDecoder cached(context, parameters, {.length_max = T}, plan);
  plan.allocate(tensor::available_memory_bytes(), kAdvice);
  source->load(parameters);

  std::vector<float> logits(static_cast<std::size_t>(B * T * V)), step_by_step;
  decoder.logits(tokens, Tensor::of(logits.data(), {B * T, V}), starts);
  std::int64_t counted = 0;
  for (const std::int32_t target : next) counted += target != tensor::kNoTarget;
  const double loss = decoder.forward_backward(tokens, targets, 1.0F / static_cast<float>(counted), starts);
  for (std::int64_t t = 0; t < T; ++t) {
    const auto row = cached.step(std::span(ids).subspan(static_cast<std::size_t>(t), 1));
    step_by_step.insert(step_by_step.end(), row.begin(), row.end());
  }

  std::vector<SafetensorsEntry> entries{{"logits", "F32", {B, T, V}}, {"step_by_step", "F32", {T, V}}};
  for (const ParameterInfo& info : parameters.layout().all()) entries.push_back({info.name, "F32", info.shape});
  SafetensorsWriter writer(files, out, std::move(entries));
  writer.append(std::span<const float>(logits));
  writer.append(std::span<const float>(step_by_step));
  for (const ParameterInfo& info : parameters.layout().all()) {
    writer.append(std::span<const float>(parameters.gradient(info.name).floats()));
  }
  writer.finish();
  std::printf("{\"loss\": %.17g}\n", loss / static_cast<double>(counted));
}

void convert(const std::string& path, const std::string& folder, const SaveOptions& options) {
  SystemFiles files;
  const auto source = open_model(files, path);
  tensor::MemoryPlan plan;
  Parameters parameters(source->model().config, {}, plan);
  plan.allocate(tensor::available_memory_bytes(), kAdvice);
  source->load(parameters);
  save_huggingface(files, folder, source->model(), parameters, options);
}

void greedy(const std::string& path, std::int64_t count, const std::vector<TokenId>& prompt) {
  SystemFiles files;
  const auto source = open_model(files, path);
  tensor::Context context(1);
  tensor::MemoryPlan plan;
  Parameters parameters(source->model().config, {}, plan);
  CachedDecoder decoder(context, parameters, {.length_max = static_cast<std::int64_t>(prompt.size()) + count}, plan);
  plan.allocate(tensor::available_memory_bytes(), kAdvice);
  source->load(parameters);
  generate(decoder, prompt, source->model().config.vocab_size,
           {.tokens = count, .temperature = 0, .end_of_text = source->model().end_of_text}, [](TokenId token) {
             std::printf("%d\n", token);
             return true;
           });
}

void packed(const std::string& path, const std::string& in, const std::string& out) {
  SystemFiles files;
  const auto source = open_model(files, path);
  const SafetensorsFile given(in);
  const std::vector<std::int32_t> ids = read_ints(given, "tokens");
  const std::int64_t B = given.find("tokens")->shape.at(0), T = given.find("tokens")->shape.at(1),
                     V = source->model().config.vocab_size;
  tensor::Context context(2);
  tensor::MemoryPlan plan;
  PackedWeights weights(*source, plan);
  CachedDecoder decoder(context, weights, {.length_max = T, .sequences = B}, plan);
  plan.allocate(tensor::available_memory_bytes(), kAdvice);
  weights.load();
  std::vector<float> logits(static_cast<std::size_t>(B * T * V));
  for (std::int64_t t = 0; t < T; ++t) {
    std::vector<CachedDecoder::Piece> pieces;
    for (std::int64_t b = 0; b < B; ++b) {
      pieces.push_back({b, std::span(ids).subspan(static_cast<std::size_t>(b * T + t), 1)});
    }
    const Tensor found = decoder.step(pieces);
    for (std::int64_t b = 0; b < B; ++b) {
      std::memcpy(logits.data() + (b * T + t) * V, found.f32() + b * V, static_cast<std::size_t>(V) * sizeof(float));
    }
  }
  SafetensorsWriter writer(files, out, {{"logits", "F32", {B, T, V}}});
  writer.append(std::span<const float>(logits));
  writer.finish();
}

void distribution(const std::vector<std::string>& words) {
  SystemFiles files;
  const SafetensorsFile given(words[6]);
  const SafetensorsEntry* entry = given.find("logits");
  std::vector<float> logits(static_cast<std::size_t>(entry->shape.at(0))), probabilities(logits.size());
  given.read_floats(*entry, logits);
  Sampler sampler({.temperature = std::stod(words[1]),
                   .top_k = std::stoll(words[2]),
                   .top_p = std::stod(words[3]),
                   .min_p = std::stod(words[4]),
                   .repetition_penalty = std::stod(words[5])});
  for (const TokenId token : read_ints(given, "seen")) sampler.see(token);
  for (const Candidate& candidate : sampler.distribution(logits)) {
    probabilities[static_cast<std::size_t>(candidate.token)] = static_cast<float>(candidate.probability);
  }
  SafetensorsWriter writer(files, words[7], {{"probabilities", "F32", entry->shape}});
  writer.append(std::span<const float>(probabilities));
  writer.finish();
}

void dequantize_file(int type, const std::string& in, const std::string& out) {
  SystemFiles files;
  const auto kind = static_cast<GgufType>(type);
  const GgufBlock block = gguf_block(kind);
  const std::string blocks = files.read_all(in);
  if (block.elements == 0 || blocks.size() % block.bytes != 0) {
    throw Error(ErrorKind::kInvalid, "Probing: {} holds no blocks of GGUF's type {}", in, type);
  }
  std::vector<float> values(blocks.size() / block.bytes * block.elements);
  dequantize(kind, blocks, values);
  files.replace(out, {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)});
}

int main_of(const std::vector<std::string>& words) {
  const std::string operation = words.empty() ? "" : words[0];
  if (operation == "run" && words.size() == 4) {
    run(words[1], words[2], words[3]);
  } else if (operation == "convert" && words.size() >= 3 && words.size() <= 5) {
    SaveOptions options;
    if (words.size() > 3 && words[3] == "bf16") options.type = WeightType::kBFloat16;
    if (words.size() > 4) options.shard_bytes_max = std::stoull(words[4]);
    convert(words[1], words[2], options);
  } else if (operation == "greedy" && words.size() > 3) {
    std::vector<TokenId> prompt;
    for (std::size_t i = 3; i < words.size(); ++i) prompt.push_back(std::stoi(words[i]));
    greedy(words[1], std::stoll(words[2]), prompt);
  } else if (operation == "packed" && words.size() == 4) {
    packed(words[1], words[2], words[3]);
  } else if (operation == "distribution" && words.size() == 8) {
    distribution(words);
  } else if (operation == "dequantize" && words.size() == 4) {
    dequantize_file(std::stoi(words[1]), words[2], words[3]);
  } else {
    std::fputs("usage: model-probe run|convert|greedy|packed|distribution|dequantize ...; see model_probe_main.cc\n",
               stderr);
    return 2;
  }
  return 0;
}

}  // namespace
}  // namespace athanor::model

int main(int count, char** words) {
  try {
    return athanor::model::main_of({words + 1, words + count});
  } catch (const std::exception& error) {
    std::fprintf(stderr, "model-probe: %s\n", error.what());
    return 1;
  }
}
