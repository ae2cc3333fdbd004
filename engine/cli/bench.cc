// How fast a model of some shape trains on this machine, and in what memory: real steps on random weights and tokens.
#include <algorithm>
#include <cstdio>
#include <numeric>
#include <string>
#include <vector>

#include "common/clock.h"
#include "common/counts.h"
#include "common/error.h"
#include "common/files.h"
#include "common/json.h"
#include "engine/cli/commands.h"
#include "engine/cli/console.h"
#include "engine/cli/machine_rates.h"
#include "engine/cli/operator_table.h"
#include "engine/model/huggingface.h"
#include "engine/tensor/operator_times.h"
#include "engine/train/language_modeling.h"
#include "engine/train/trainer.h"

namespace athanor::llm {

namespace {

constexpr double kProducts_s = 1.5;  // of each type
constexpr double kTriad_s = 1;

// A field of /proc/self/status in bytes: VmRSS, VmHWM (the largest VmRSS so far).
std::uint64_t status_bytes(Files& files, std::string_view field) {
  const std::string text = files.read_all("/proc/self/status");
  const std::size_t at = text.find(std::string(field) + ":");
  if (at == std::string::npos) throw Error(ErrorKind::kUnavailable, "/proc/self/status does not tell {}", field);
  return std::stoull(text.substr(at + field.size() + 1)) * 1024;
}

// Token i of an endless text that another program can make too.
class NumberedTokens final : public data::Sequences {
 public:
  NumberedTokens(std::int64_t vocabulary, std::int64_t batch) : vocabulary_(vocabulary), batch_(batch) {}
  void training(std::int64_t step, std::int64_t index, const data::Row& row) override {
    const auto length = static_cast<std::int64_t>(row.tokens.size());
    const std::int64_t first = ((step - 1) * batch_ + index) * (length + 1);
    for (std::int64_t i = 0; i < length; ++i) {
      const auto at = static_cast<std::size_t>(i);
      row.tokens[at] = token(first + i);
      row.targets[at] = token(first + i + 1);
      row.document_starts[at] = 0;
    }
  }
  std::int64_t evaluation_count(std::int64_t) override { return 0; }
  void evaluation(std::int64_t, const data::Row&) override {}

 private:
  std::int32_t token(std::int64_t i) const {
    const auto mixed = static_cast<std::uint32_t>(i + 1) * 2654435761U;  // Knuth's multiplicative hash
    return static_cast<std::int32_t>((mixed >> 8) % static_cast<std::uint32_t>(vocabulary_));
  }
  const std::int64_t vocabulary_;
  const std::int64_t batch_;
};

}  // namespace

TrainSettings bench_settings(const std::string& name) {
  TrainSettings s;
  s.train.steps = 5;
  s.train.batch = s.train.micro_batch = 2;
  s.train.length = 512;
  s.train.warmup_steps = 0;
  if (name == "smollm2-135m") {
    s.vocabulary = 49152, s.layers = 30, s.hidden_size = 576, s.intermediate_size = 1536, s.heads = 9, s.kv_heads = 3;
    s.rope_theta = 100000;
  } else if (name == "llama2-7b") {
    s.vocabulary = 32000, s.layers = 32, s.hidden_size = 4096, s.intermediate_size = 11008, s.heads = 32,
    s.kv_heads = 32;
    s.tied = false;
  } else if (name == "small") {
    s.vocabulary = 4096, s.layers = 4, s.hidden_size = 256, s.intermediate_size = 704, s.heads = 4, s.kv_heads = 4;
  } else {
    throw Error(ErrorKind::kInvalid, "There is no shape {}; there are: smollm2-135m, llama2-7b, small", name);
  }
  return s;
}

int bench(const BenchCommand& command) {
  SystemFiles files;
  const SystemClock clock;
  const std::uint64_t before_bytes = status_bytes(files, "VmRSS");
  TrainSettings settings = bench_settings(command.shape);
  const std::vector<Setting> table = table_of(settings);
  std::vector<std::string> given;
  for (const auto& [name, value] : command.settings) {
    given.push_back(name);
    for (const Setting& setting : table) {
      if (setting.name == name) set(setting, value, "Option " + name);
    }
  }
  if (std::ranges::find(given, "micro_batch") == given.end()) settings.train.micro_batch = settings.train.batch;
  settle(settings, given, false);
  check(settings);
  if (command.operators && settings.train.steps < 2) {
    throw Error(ErrorKind::kInvalid,
                "--operators leaves out the first step, which meets cold memory: give --steps 2 or more");
  }
  settings.train.memory_limit_bytes = static_cast<std::uint64_t>(settings.memory * (1ULL << 30));
  settings.train.checkpoint_folder = command.checkpoints;
  const train::TrainOptions& options = settings.train;
  const model::Config config = model_config(settings, settings.vocabulary);
  tensor::Context context(static_cast<int>(settings.threads));
  json::object result{{"shape", command.shape},         {"dtype", options.dtype}, {"optimizer", options.optimizer},
                      {"lora_rank", options.lora_rank}, {"batch", options.batch}, {"length", options.length},
                      {"threads", context.threads()}};
  if (command.products) {
    result["product_flops_float32"] = product_rate(context, tensor::DType::kFloat32, clock, kProducts_s).best;
    result["product_flops_bfloat16"] = product_rate(context, tensor::DType::kBFloat16, clock, kProducts_s).best;
    print(json::serialize(result) + "\n");
    return 0;
  }

  parallel::Alone alone;
  NumberedTokens tokens(config.vocab_size, options.batch);
  train::LanguageModeling objective(tokens, options);
  train::Trainer trainer(config, options, context, alone, objective, files, clock);
  trainer.initialize();
  if (!command.save.empty()) {
    if (options.lora_rank > 0) {
      throw Error(ErrorKind::kInvalid, "--save is for a model that is trained whole: leave out --lora-rank");
    }
    model::save_huggingface(files, command.save, {.config = config, .end_of_text = {}}, trainer.parameters());
  }
  tensor::OperatorTimes operators(clock);
  if (command.operators) context.record(&operators);
  json::array losses, seconds;
  std::vector<double> took;
  double checkpoint_wait_s = 0;
  std::uint64_t after_first_bytes = 0;
  double last_s = static_cast<double>(clock.monotonic_ns()) * 1e-9;
  trainer.run(false, {.on_step = [&](const train::Progress& progress) {
                const double now_s = static_cast<double>(clock.monotonic_ns()) * 1e-9;
                losses.push_back(progress.loss);
                seconds.push_back(now_s - last_s);
                took.push_back(now_s - last_s);
                last_s = now_s;
                checkpoint_wait_s = progress.checkpoint_wait_s;
                if (progress.step > 1) return;
                after_first_bytes = status_bytes(files, "VmRSS");
                operators.clear();  // as below
              }});
  context.record(nullptr);
  const std::uint64_t after_last_bytes = status_bytes(files, "VmRSS");
  // The first step meets cold memory and unprepared products.
  if (took.size() > 1) took.erase(took.begin());
  const double mean_s = std::accumulate(took.begin(), took.end(), 0.0) / static_cast<double>(took.size());
  std::ranges::nth_element(took, took.begin() + static_cast<std::ptrdiff_t>(took.size() / 2));
  const double step_s = took[took.size() / 2];
  result["parameters"] = model::parameter_count(config);
  result["losses"] = std::move(losses);
  result["step_s"] = std::move(seconds);
  result["checkpoint_wait_s"] = checkpoint_wait_s;
  result["tokens_per_s"] = static_cast<double>(options.batch * options.length) / step_s;
  const std::int64_t adapters = options.lora_rank > 0 ? trainer.model().trained().layout().size() : 0;
  result["flops_per_token"] = model::training_flops_per_token(config, options.length, adapters).all();
  result["recompute"] = model::name_of(trainer.sizes().recompute);
  result["recompute_layers"] = std::min(config.num_hidden_layers, trainer.sizes().recompute_layers);
  result["memory_planned_bytes"] = trainer.memory().bytes();
  result["memory_after_first_step_bytes"] = after_first_bytes - before_bytes;
  result["memory_after_last_step_bytes"] = after_last_bytes - before_bytes;
  result["memory_peak_bytes"] = status_bytes(files, "VmHWM") - before_bytes;
  if (command.table) std::fputs(trainer.memory().table().c_str(), stderr);
  if (command.operators) {
    const tensor::DType type = train::dtype_of(options.dtype);
    const OperatorTable operator_table{.operators = operators.all(),
                                       .steps = static_cast<double>(took.size()),
                                       .step_s = mean_s,
                                       .rates = {.product_flops = product_rate(context, type, clock, kProducts_s).best,
                                                 .triad_bytes = triad_rate(context, clock, kTriad_s).best}};
    if (!command.json) {
      say("{} ({}, batch {}, length {}, {}): {:.1f} tokens/s", command.shape, options.dtype, options.batch,
          options.length, format_count(context.threads(), "thread"),
          static_cast<double>(options.batch * options.length) / step_s);
      print(operator_table.text());
      return 0;
    }
    result["product_flops_" + options.dtype] = operator_table.rates.product_flops;
    result["triad_bytes_per_s"] = operator_table.rates.triad_bytes;
    result["operators"] = operator_table.lines();
  }
  print(json::serialize(result) + "\n");
  return 0;
}

}  // namespace athanor::llm
