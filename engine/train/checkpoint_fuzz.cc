// A checkpoint whose files hold anything: refused, or whole. The input is checkpoint.json, a zero byte, and the shard;
// without a zero byte it is the index of a whole shard.
#include <algorithm>
#include <cstdlib>
#include <vector>

#include "common/error.h"
#include "common/temporary_folder.h"
#include "engine/model/parameters.h"
#include "engine/train/checkpoint.h"

namespace {

using namespace athanor;

void write(const std::string& path, std::string_view bytes) {
  SystemFiles().open(path, Files::Open::kTruncate, 0644)->append(bytes);
}

struct Run {
  Run() : layout(config), values(static_cast<std::size_t>(3 * layout.size())) {
    save_checkpoint(files, folder.path(), config, input, {.step = 1, .data_step = 1}, tensors(), 1);
    shard = files.read_all(folder / "step-00000001/shard-00000.safetensors");
  }
  train::TrainTensors tensors() {
    const auto part = [this](std::int64_t i) {
      return tensor::Tensor::of(values.data() + i * layout.size(), {layout.size()});
    };
    train::TrainTensors all;
    all.add(layout, "", part(0));
    all.add(layout, "optimizer.m.", part(1));
    all.add(layout, "optimizer.v.", part(2));
    return all;
  }

  const model::Config config{.vocab_size = 3,
                             .hidden_size = 2,
                             .intermediate_size = 2,
                             .num_hidden_layers = 1,
                             .num_attention_heads = 1,
                             .num_key_value_heads = 1,
                             .head_dim = 2,
                             .max_position_embeddings = 4};
  const train::TrainInput input{.batch = 1,
                                .length = 4,
                                .seed = 1,
                                .text = {.tokenizer = "{}", .tokens = 5, .fingerprint = "f"}};
  const model::ParameterLayout layout;
  std::vector<float> values;
  SystemFiles files;
  TemporaryFolder folder;
  std::string shard;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  static Run run;
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const std::size_t end = std::min(input.find('\0'), input.size());
  write(run.folder / "step-00000001/checkpoint.json", input.substr(0, end));
  write(run.folder / "step-00000001/shard-00000.safetensors",
        end < input.size() ? input.substr(end + 1) : std::string_view(run.shard));
  try {
    load_checkpoint(run.files, run.folder.path(), "step-00000001", run.config, run.input, run.tensors());
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kCorrupt && error.kind() != ErrorKind::kInvalid) std::abort();
  }
  return 0;
}
