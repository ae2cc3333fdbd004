// A program for the engine's comparison with PyTorch (tests/engine): runs one operator, one model or some training steps
// on tensors from a safetensors file, writes the results to another, and prints scalars as JSON.
//
//   engine-probe OPERATION IN OUT [config=FOLDER] [NAME=NUMBER ...]
//
// Options and tensors are named in each operation below, by the words of the operator's header. A model has the shape of the
// config.json in FOLDER, or without it is a Llama with the options' numbers.
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "common/clock.h"
#include "common/error.h"
#include "common/files.h"
#include "engine/model/adapter_files.h"
#include "engine/model/base.h"
#include "engine/model/decoder.h"
#include "engine/model/decoder_cached.h"
#include "engine/model/huggingface.h"
#include "engine/model/safetensors.h"
#include "engine/parallel/thread_group.h"
#include "engine/tensor/adamw.h"
#include "engine/tensor/attention.h"
#include "engine/tensor/available_memory.h"
#include "engine/tensor/cross_entropy.h"
#include "engine/tensor/embedding.h"
#include "engine/tensor/matmul.h"
#include "engine/tensor/rmsnorm.h"
#include "engine/tensor/rope.h"
#include "engine/tensor/swiglu.h"
#include "engine/train/dpo.h"
#include "engine/train/language_modeling.h"
#include "engine/train/trained_model.h"
#include "engine/train/trainer.h"

namespace athanor {
namespace {

using tensor::Context;
using tensor::DType;
using tensor::Tensor;

// The tensors and numbers of one call.
class Probe {
 public:
  Probe(const std::string& in, const std::string& out, const std::string& config_folder,
        std::map<std::string, double> options)
      : out(out),
        config_folder(config_folder),
        in_(in),
        options_(std::move(options)),
        context(static_cast<int>(option("threads", 1))) {}

  const std::string out, config_folder;

  double option(const std::string& name, double otherwise) const {
    const auto found = options_.find(name);
    return found == options_.end() ? otherwise : found->second;
  }
  std::int64_t size(const std::string& name) const {
    const auto found = options_.find(name);
    if (found == options_.end()) throw Error(ErrorKind::kInvalid, "Probing: the option {} is missing", name);
    return static_cast<std::int64_t>(found->second);
  }

  // A copy of an input, float32 or int32.
  Tensor input(const std::string& name) {
    const model::SafetensorsEntry* entry = in_.find(name);
    if (!entry) throw Error(ErrorKind::kInvalid, "Probing: the tensor {} is missing", name);
    const Tensor made = make(entry->dtype == "I32" ? DType::kInt32 : DType::kFloat32, entry->shape);
    std::memcpy(made.data(), in_.bytes(*entry).data(), made.bytes());
    return made;
  }
  bool has(const std::string& name) const { return in_.find(name) != nullptr; }
  Tensor floats(std::vector<std::int64_t> shape) { return make(DType::kFloat32, shape); }

  // What activations and parameters are computed in: bfloat16 with the option bfloat16=1.
  DType type() const { return option("bfloat16", 0) != 0 ? DType::kBFloat16 : DType::kFloat32; }
  Tensor typed(std::vector<std::int64_t> shape) { return make(type(), shape); }
  // An input of floats, rounded to that type.
  Tensor typed_input(const std::string& name) {
    const Tensor from = input(name);
    if (type() == DType::kFloat32) return from;
    const Tensor into = typed({from.dim(0), from.dim(1)});
    std::ranges::transform(from.floats(), into.bf16(), [](float x) { return tensor::BFloat16(x); });
    return into;
  }

  // Contiguous, float32 or bfloat16; copied, and written as float32.
  void output(const std::string& name, const Tensor& tensor) {
    std::vector<std::int64_t> shape;
    for (int i = 0; i < tensor.rank(); ++i) shape.push_back(tensor.dim(i));
    const Tensor wide = floats(shape);
    if (tensor.type() == DType::kFloat32) {
      std::ranges::copy(tensor.floats(), wide.f32());
    } else {
      std::ranges::copy(tensor.bfloats(), wide.f32());
    }
    outputs_.emplace_back(name, wide);
  }
  void print(const std::string& name, double value) {
    printed_ += fmt::format("{}\"{}\": {:.17g}", printed_.empty() ? "" : ", ", name, value);
  }
  void print(const std::string& name, const std::vector<double>& values) {
    printed_ += fmt::format("{}\"{}\": [", printed_.empty() ? "" : ", ", name);
    for (std::size_t i = 0; i < values.size(); ++i) printed_ += fmt::format("{}{:.17g}", i ? ", " : "", values[i]);
    printed_ += "]";
  }

  void write(const std::string& path) {
    SystemFiles files;
    std::vector<model::SafetensorsEntry> entries;
    for (const auto& [name, tensor] : outputs_) {
      model::SafetensorsEntry entry{.name = name, .dtype = "F32"};
      for (int i = 0; i < tensor.rank(); ++i) entry.shape.push_back(tensor.dim(i));
      entries.push_back(entry);
    }
    model::SafetensorsWriter writer(files, path, entries);
    for (const auto& [name, tensor] : outputs_) writer.append(std::span<const float>(tensor.floats()));
    writer.finish();
    std::printf("{%s}\n", printed_.c_str());
  }

 private:
  Tensor make(DType type, const std::vector<std::int64_t>& shape) {
    Tensor tensor(type, shape);
    buffers_.emplace_back(tensor.bytes() / sizeof(float) + 1);
    tensor.set_data(buffers_.back().data());
    return tensor;
  }

  model::SafetensorsFile in_;
  std::map<std::string, double> options_;
  std::deque<std::vector<float>> buffers_;
  std::vector<std::pair<std::string, Tensor>> outputs_;
  std::string printed_;

 public:
  Context context;
};

// a (M, K), b (K, N), each perhaps stored transposed, c (M, N) added to.
void probe_matmul(Probe& probe) {
  Tensor a = probe.input("a"), b = probe.input("b");
  if (probe.option("a_transposed", 0) != 0) a = a.transposed();
  if (probe.option("b_transposed", 0) != 0) b = b.transposed();
  const Tensor c = probe.input("c");
  matmul(probe.context, a, b, c, tensor::Into::kAdd);
  probe.output("c", c);
}

void probe_embedding(Probe& probe) {
  const Tensor tokens = probe.input("tokens"), table = probe.input("table"), dx = probe.input("dx");
  const Tensor x = probe.floats({dx.dim(0), dx.dim(1)}), d_table = probe.floats({table.dim(0), table.dim(1)});
  embedding_forward(probe.context, tokens, table, x);
  embedding_backward(probe.context, tokens, dx, d_table);
  probe.output("x", x);
  probe.output("d_table", d_table);
}

void probe_rmsnorm(Probe& probe) {
  const Tensor x = probe.input("x"), delta = probe.input("delta"), gain = probe.input("gain"), dy = probe.input("dy");
  const std::int64_t N = x.dim(0), C = x.dim(1);
  const Tensor sum = probe.floats({N, C}), y = probe.floats({N, C}), r = probe.floats({N}), dx = probe.floats({N, C});
  const Tensor d_gain = probe.floats({C}), partial = probe.floats({probe.context.threads(), C});
  add_rmsnorm_forward(probe.context, x, delta, gain, static_cast<float>(probe.option("eps", 1e-5)), sum, y, r);
  rmsnorm_backward(probe.context, sum, gain, r, dy, dx, d_gain, partial);
  probe.output("y", y);
  probe.output("dx", dx);
  probe.output("d_gain", d_gain);
}

void probe_rope(Probe& probe) {
  const Tensor x = probe.input("x"), dy = probe.input("dy");
  const std::int64_t T = probe.size("length"), D = probe.size("head_dim");
  const Tensor cos = probe.floats({T, D / 2}), sin = probe.floats({T, D / 2});
  tensor::rope_table(probe.option("theta", 10000), cos, sin);
  rope(probe.context, x, D, T, 0, cos, sin, tensor::Turn::kForward);
  rope(probe.context, dy, D, T, 0, cos, sin, tensor::Turn::kBackward);
  probe.output("y", x);
  probe.output("dx", dy);
}

void probe_attention(Probe& probe) {
  const Tensor q = probe.typed_input("q"), k = probe.typed_input("k"), v = probe.typed_input("v");
  const Tensor d_o = probe.typed_input("d_o");
  const tensor::AttentionShape shape{probe.size("batch"), probe.size("length"), probe.size("heads"),
                                     probe.size("kv_heads"), probe.size("head_dim")};
  const Tensor o = probe.typed({q.dim(0), q.dim(1)}), lse = probe.floats({shape.batch, shape.heads, shape.length});
  const Tensor dq = probe.typed({q.dim(0), q.dim(1)}), dk = probe.typed({k.dim(0), k.dim(1)});
  const Tensor dv = probe.typed({k.dim(0), k.dim(1)});
  const Tensor scratch = probe.floats({probe.context.threads(), tensor::attention_scratch_floats(shape, true)});
  attention_forward(probe.context, shape, q, k, v, o, lse, scratch);
  attention_backward(probe.context, shape, q, k, v, o, lse, d_o, dq, dk, dv, scratch);
  probe.output("o", o);
  probe.output("lse", lse);
  probe.output("dq", dq);
  probe.output("dk", dk);
  probe.output("dv", dv);
}

void probe_swiglu(Probe& probe) {
  const Tensor gate_up = probe.input("gate_up"), dy = probe.input("dy");
  const Tensor y = probe.floats({dy.dim(0), dy.dim(1)});
  swiglu_forward(probe.context, gate_up, y);
  swiglu_backward(probe.context, gate_up, dy);
  probe.output("y", y);
  probe.output("d_gate_up", gate_up);
}

void probe_cross_entropy(Probe& probe) {
  const Tensor x = probe.input("x"), weight = probe.input("weight"), targets = probe.input("targets");
  const Tensor dx = probe.floats({x.dim(0), x.dim(1)}), dw = probe.floats({weight.dim(0), weight.dim(1)});
  const Tensor logits = probe.floats({probe.size("rows"), weight.dim(0)});
  probe.print("loss", cross_entropy_forward_backward(probe.context, x, weight, targets,
                                                     static_cast<float>(probe.option("scale", 1)), logits, dx, dw, {},
                                                     static_cast<float>(probe.option("z_loss", 0))));
  probe.output("dx", dx);
  probe.output("d_weight", dw);
}

// gradients (steps, count): so many steps.
void probe_adamw(Probe& probe) {
  const Tensor p = probe.input("parameters"), gradients = probe.input("gradients");
  const Tensor m = probe.floats({p.dim(0)}), v = probe.floats({p.dim(0)});
  for (std::int64_t step = 1; step <= gradients.dim(0); ++step) {
    adamw(probe.context,
          {.rate = probe.option("rate", 1e-3),
           .beta1 = probe.option("beta1", 0.9),
           .beta2 = probe.option("beta2", 0.95),
           .eps = probe.option("eps", 1e-8),
           .weight_decay = probe.option("weight_decay", 0),
           .step = step},
          p, gradients.rows(step - 1, step).reshaped({p.dim(0)}), m, v);
  }
  probe.output("parameters", p);
  probe.output("m", m);
  probe.output("v", v);
}

model::Config config_of(const Probe& probe) {
  if (!probe.config_folder.empty()) {
    SystemFiles files;
    return model::load_huggingface_config(files, probe.config_folder).config;
  }
  return {.vocab_size = probe.size("vocab_size"),
          .hidden_size = probe.size("hidden_size"),
          .intermediate_size = probe.size("intermediate_size"),
          .num_hidden_layers = probe.size("num_hidden_layers"),
          .num_attention_heads = probe.size("num_attention_heads"),
          .num_key_value_heads = probe.size("num_key_value_heads"),
          .head_dim = probe.size("head_dim"),
          .max_position_embeddings = 4096,
          .rms_norm_eps = probe.option("rms_norm_eps", 1e-5),
          .rope_theta = probe.option("rope_theta", 10000),
          .tie_word_embeddings = probe.option("tie_word_embeddings", 1) != 0};
}

void fill(Probe& probe, model::FlatParameters& parameters) {
  for (const model::ParameterInfo& info : parameters.layout().all()) {
    const Tensor from = probe.input(info.name);
    ATHANOR_ASSERT(from.count() == info.count);
    parameters.set(info, 0, from.floats());
  }
}

void fill(Probe& probe, model::Base& base) {
  base.load(probe.context, [&](const model::ParameterInfo& info, std::span<float> into) {
    std::ranges::copy(probe.input(info.name).floats(), into.begin());
  });
}

// lora_rank, lora_alpha, lora_dropout, lora_layers (a bit for each of q, k, v, o, gate, up, down) and base (0 float32,
// 1 bfloat16, 2 q8_0, 3 q4_0).
void set_lora(const Probe& probe, train::TrainOptions& options) {
  options.lora_rank = static_cast<std::int64_t>(probe.option("lora_rank", 0));
  options.lora_alpha = probe.option("lora_alpha", 32);
  options.lora_dropout = probe.option("lora_dropout", 0);
  options.lora_layers.clear();
  const auto layers = static_cast<int>(probe.option("lora_layers", 127));
  for (int i = 0; i < model::kLoraTargets; ++i) {
    if (layers >> i & 1) {
      options.lora_layers +=
          std::string(options.lora_layers.empty() ? "" : ",") + module_of(static_cast<model::LoraTarget>(i));
    }
  }
  options.base_dtype = name_of(static_cast<model::BaseType>(probe.option("base", 0)));
}

// tokens, targets (B, T), the frozen parameters and the adapters by their names: all logits, the mean loss, the gradient of
// each adapter under its name; with save=1 also OUT.adapters, PEFT's folder. And what the frozen weights have become, as "base.NAME".
void probe_adapters(Probe& probe) {
  const model::Config config = config_of(probe);
  const Tensor tokens = probe.input("tokens"), targets = probe.input("targets");
  const std::int64_t B = tokens.dim(0), T = tokens.dim(1), V = config.vocab_size;
  train::TrainOptions options{.dtype = name_of(probe.type())};
  set_lora(probe, options);
  tensor::MemoryPlan plan;
  train::TrainedModel trained(config, options, DType::kFloat32, false, plan);
  const auto recompute = static_cast<model::Recompute>(probe.option("recompute", 0));
  model::Decoder decoder(probe.context, trained.weights(),
                         {.batch_max = B, .length_max = T, .backward = true, .recompute = recompute}, plan);
  plan.allocate(tensor::available_memory_bytes(), "Take a smaller model");
  fill(probe, *trained.base());
  fill(probe, *trained.adapters());

  SystemFiles files;
  if (probe.option("save", 0) != 0) model::save_adapters(files, probe.out + ".adapters", *trained.adapters(), "base");
  const Tensor logits = probe.floats({B * T, V});
  decoder.logits(tokens, logits);
  probe.output("logits", logits);
  std::int64_t counted = 0;
  for (const std::int32_t target : targets.ints()) counted += target != tensor::kNoTarget;
  const double loss = decoder.forward_backward(tokens, targets, 1.0F / static_cast<float>(counted), {}, {.key = 5});
  probe.print("loss", loss / static_cast<double>(counted));
  for (const model::ParameterInfo& info : trained.adapters()->layout().all()) {
    probe.output(info.name, trained.adapters()->gradient(info.name));
  }
  const model::ParameterLayout layout(config);
  for (const model::ParameterInfo& info : layout.all()) {
    const tensor::Weight weight = trained.base()->find(info.name);
    const Tensor copy = probe.floats(info.shape);
    if (weight.quantized()) dequantize(probe.context, weight.blocks(), copy);
    if (!weight.quantized() && weight.dense().type() == DType::kFloat32) {
      std::ranges::copy(weight.dense().floats(), copy.f32());
    }
    if (!weight.quantized() && weight.dense().type() == DType::kBFloat16) {
      std::ranges::copy(weight.dense().bfloats(), copy.f32());
    }
    probe.output("base." + info.name, copy);
  }
}

// tokens, targets (2P, T), pairs of a chosen and a rejected answer, references (P, 2) and the parameters by name (with lora_rank, of
// adapters too): the log-probabilities of all answers, and the mean of DPO's losses with `beta` and `label_smoothing` and its
// gradient for everything that is trained.
void probe_dpo(Probe& probe) {
  const Tensor tokens = probe.input("tokens"), targets = probe.input("targets"), given = probe.input("references");
  const std::int64_t B = tokens.dim(0), T = tokens.dim(1);
  train::TrainOptions options{.dtype = name_of(probe.type())};
  set_lora(probe, options);
  tensor::MemoryPlan plan;
  train::TrainedModel trained(config_of(probe), options, DType::kFloat32, false, plan);
  model::Decoder decoder(probe.context, trained.weights(), {.batch_max = B, .length_max = T, .backward = true}, plan);
  plan.allocate(tensor::available_memory_bytes(), "Take a smaller model");
  if (model::Base* base = trained.base()) fill(probe, *base);
  fill(probe, trained.trained());

  std::vector<train::AnswerLogProbabilities> references;
  for (std::int64_t i = 0; i < B / 2; ++i) references.push_back({given.f32()[2 * i], given.f32()[2 * i + 1]});
  const train::DpoOptions dpo{.beta = probe.option("beta", 0.1), .label_smoothing = probe.option("label_smoothing", 0)};
  std::vector<double> log_probabilities;
  train::DpoSums sums;
  decoder.forward_backward(tokens, targets, [&](std::span<const double> losses, std::span<float> weights) {
    for (const double loss : losses) log_probabilities.push_back(-loss);
    sums = weights_of(log_probabilities, references, -2.0 / static_cast<double>(B), dpo, weights);
  });
  probe.print("log_probabilities", log_probabilities);
  const double pairs = static_cast<double>(B) / 2;
  const auto& [chosen_reward, rejected_reward, preferred] = sums.preferences;
  for (const auto& [name, sum] : {std::pair{"loss", sums.loss},
                                  {"chosen_reward", chosen_reward},
                                  {"rejected_reward", rejected_reward},
                                  {"accuracy", preferred}}) {
    probe.print(name, sum / pairs);
  }
  for (const model::ParameterInfo& info : trained.trained().layout().all()) {
    probe.output(info.name,
                 trained.whole() ? trained.whole()->gradient(info.name) : trained.adapters()->gradient(info.name));
  }
}

// tokens, targets (B, T) and the parameters by name: all logits, the mean loss, every gradient of it under the
// parameter's name (summed in float32, or with narrow_gradients=1 in bfloat16), and the logits again as the cached decoder finds them a token at a time for the first sequence.
void probe_model(Probe& probe) {
  const model::Config config = config_of(probe);
  const Tensor tokens = probe.input("tokens"), targets = probe.input("targets");
  const std::int64_t B = tokens.dim(0), T = tokens.dim(1), V = config.vocab_size;
  tensor::MemoryPlan plan;
  const DType gradients = probe.option("narrow_gradients", 0) != 0 ? DType::kBFloat16 : DType::kFloat32;
  model::Parameters parameters(config, {.values = probe.type(), .gradients = gradients}, plan);
  model::Decoder decoder(probe.context, parameters, {.batch_max = B, .length_max = T, .backward = true}, plan);
  model::CachedDecoder cached(probe.context, parameters, {.length_max = T}, plan);
  plan.allocate(tensor::available_memory_bytes(), "Take a smaller model");
  fill(probe, parameters);

  const Tensor logits = probe.floats({B * T, V}), step_by_step = probe.floats({T, V});
  decoder.logits(tokens, logits);
  probe.output("logits", logits);
  std::int64_t counted = 0;
  for (const std::int32_t target : targets.ints()) counted += target != tensor::kNoTarget;
  const double loss = decoder.forward_backward(tokens, targets, 1.0F / static_cast<float>(counted));
  probe.print("loss", loss / static_cast<double>(counted));
  for (const model::ParameterInfo& info : parameters.layout().all()) {
    probe.output(info.name, parameters.gradient(info.name));
  }
  for (std::int64_t t = 0; t < T; ++t) {
    const auto row = cached.step(tokens.rows(0, 1).reshaped({T}).ints().subspan(static_cast<std::size_t>(t), 1));
    std::copy(row.begin(), row.end(), step_by_step.f32() + t * V);
  }
  probe.output("step_by_step", step_by_step);
}

// sequences (steps, batch, length + 1) and the initial parameters (with lora_rank, of adapters too): trains on them with TrainOptions' names, on `ranks`
// ranks, with optimizer 0 (adamw), 1 (adamw8) or 2 (muon), and gives the losses and gradient norms of all steps and the final parameters.
void probe_train(Probe& probe) {
  const Tensor sequences = probe.input("sequences");
  train::TrainOptions options;
  options.steps = sequences.dim(0);
  options.batch = sequences.dim(1);
  options.length = sequences.dim(2) - 1;
  options.micro_batch = static_cast<std::int64_t>(probe.option("micro_batch", 2));
  options.dtype = name_of(probe.type());
  options.optimizer =
      std::vector<std::string>{"adamw", "adamw8", "muon"}.at(static_cast<std::size_t>(probe.option("optimizer", 0)));
  options.learning_rate = probe.option("learning_rate", 1e-3);
  options.learning_rate_min = probe.option("learning_rate_min", 1e-4);
  options.warmup_steps = static_cast<std::int64_t>(probe.option("warmup_steps", 5));
  options.beta1 = probe.option("beta1", 0.9);
  options.beta2 = probe.option("beta2", 0.95);
  options.weight_decay = probe.option("weight_decay", 0.1);
  options.gradient_clip = probe.option("gradient_clip", 1);
  options.z_loss = probe.option("z_loss", 0);
  set_lora(probe, options);

  class Given final : public data::Sequences {
   public:
    explicit Given(const Tensor& all) : all_(all) {}
    void training(std::int64_t step, std::int64_t index, const data::Row& row) override {
      const auto from =
          all_.ints().subspan(static_cast<std::size_t>((step - 1) * all_.stride(0) + index * all_.stride(1)));
      std::copy_n(from.begin(), row.tokens.size(), row.tokens.begin());
      std::copy_n(from.begin() + 1, row.targets.size(), row.targets.begin());
    }
    std::int64_t evaluation_count(std::int64_t) override { return 0; }
    void evaluation(std::int64_t, const data::Row&) override {}

   private:
    const Tensor all_;
  };

  std::vector<double> losses, norms;
  std::mutex probe_mutex;
  parallel::ThreadGroup(static_cast<int>(probe.option("ranks", 1))).run([&](parallel::Collectives& collectives) {
    Context context(probe.context.threads());
    Given given(sequences);
    SystemFiles files;
    SystemClock clock;
    train::LanguageModeling objective(given, options);
    train::Trainer trainer(config_of(probe), options, context, collectives, objective, files, clock);
    trainer.initialize();
    {
      const std::lock_guard lock(probe_mutex);
      if (model::Base* base = trainer.model().base()) fill(probe, *base);
      fill(probe, trainer.model().trained());
    }
    const bool reports = collectives.rank() == 0;
    trainer.run(false, {.on_step = [&](const train::Progress& progress) {
                  if (!reports) return;
                  losses.push_back(progress.loss);
                  norms.push_back(progress.gradient_norm);
                }});
    if (!reports) return;
    const std::lock_guard lock(probe_mutex);
    for (const model::ParameterInfo& info : trainer.model().trained().layout().all()) {
      const Tensor copy = probe.floats(info.shape);
      trainer.model().trained().get(info, 0, copy.floats());
      probe.output(info.name, copy);
    }
  });
  probe.print("losses", losses);
  probe.print("gradient_norms", norms);
}

int run(int count, char** words) {
  const std::map<std::string, void (*)(Probe&)> operations = {
      {"matmul", probe_matmul},
      {"embedding", probe_embedding},
      {"rmsnorm", probe_rmsnorm},
      {"rope", probe_rope},
      {"attention", probe_attention},
      {"swiglu", probe_swiglu},
      {"cross_entropy", probe_cross_entropy},
      {"adamw", probe_adamw},
      {"model", probe_model},
      {"train", probe_train},
      {"adapters", probe_adapters},
      {"dpo", probe_dpo},
  };
  if (count < 4 || !operations.contains(words[1])) {
    std::fputs("usage: engine-probe OPERATION IN OUT [config=FOLDER] [NAME=NUMBER ...]\n", stderr);
    return 2;
  }
  std::string config_folder;
  std::map<std::string, double> options;
  for (int i = 4; i < count; ++i) {
    const std::string word = words[i];
    const auto equals = word.find('=');
    if (equals == std::string::npos) throw Error(ErrorKind::kInvalid, "Probing: '{}' is not NAME=NUMBER", word);
    const std::string name = word.substr(0, equals), value = word.substr(equals + 1);
    if (name == "config") {
      config_folder = value;
    } else {
      options[name] = std::stod(value);
    }
  }
  Probe probe(words[2], words[3], config_folder, std::move(options));
  operations.at(words[1])(probe);
  probe.write(words[3]);
  return 0;
}

}  // namespace
}  // namespace athanor

int main(int count, char** words) {
  try {
    return athanor::run(count, words);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "engine-probe: %s\n", error.what());
    return 1;
  }
}
