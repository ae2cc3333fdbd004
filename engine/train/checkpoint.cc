#include "engine/train/checkpoint.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <tuple>

#include "common/error.h"
#include "common/hash.h"
#include "common/json.h"
#include "common/log.h"
#include "engine/model/huggingface_config.h"
#include "engine/model/safetensors.h"

namespace athanor::train {

namespace {

constexpr std::int64_t kVersion = 2;
constexpr std::string_view kPrefix = "step-";
constexpr std::string_view kManifest = "checkpoint.json";
constexpr std::string_view kShard = "shard-00000.safetensors";
constexpr std::string_view kTokenizer = "tokenizer";
constexpr std::size_t kPiece = 4 << 20;      // bytes written or read at once
constexpr std::size_t kCopyPiece = 1 << 20;  // the same through a snapshot: what is copied should stay in cache
constexpr std::uint64_t kManifestBytesMax = 64 << 20;
constexpr std::uint64_t kTokenizerBytesMax = 256 << 20;
constexpr std::uint64_t kShardHeaderBytesMax = 64 << 20;

// As safetensors spells it.
std::string type_of(const tensor::Tensor& x) {
  switch (x.type()) {
    case tensor::DType::kFloat32: return "F32";
    case tensor::DType::kBFloat16: return "BF16";
    case tensor::DType::kInt32: return "I32";
    case tensor::DType::kInt16: return "I16";
    case tensor::DType::kUInt8: return "U8";
  }
  return "";
}

std::vector<std::int64_t> shape_of(const tensor::Tensor& x) {
  std::vector<std::int64_t> shape;
  for (int i = 0; i < x.rank(); ++i) shape.push_back(x.dim(i));
  return shape;
}

json::array shape_in_json(const tensor::Tensor& x) {
  json::array shape;
  for (int i = 0; i < x.rank(); ++i) shape.push_back(x.dim(i));
  return shape;
}

struct Written {
  std::uint64_t size = 0;   // of the file
  std::string data_sha256;  // of the tensors' bytes, in order
};

Written write_shard(Files& files, const std::string& path, const std::vector<NamedTensor>& entries,
                    Snapshot* snapshot) {
  std::vector<model::SafetensorsEntry> described;
  for (const NamedTensor& entry : entries) {
    described.push_back({.name = entry.name, .dtype = type_of(entry.data), .shape = shape_of(entry.data)});
  }
  model::SafetensorsWriter writer(files, path, std::move(described));
  Hasher hasher("SHA256");
  std::string copy(snapshot ? kCopyPiece : 0, '\0');
  for (const NamedTensor& entry : entries) {
    std::string_view bytes(static_cast<const char*>(entry.data.data()), entry.data.bytes());
    while (!bytes.empty()) {
      std::string_view piece = bytes.substr(0, snapshot ? kCopyPiece : kPiece);
      bytes.remove_prefix(piece.size());
      if (snapshot) {
        snapshot->read(piece.data(), std::span(copy).first(piece.size()));
        piece = std::string_view(copy).substr(0, piece.size());
      }
      hasher.update(piece);
      writer.append(piece);
    }
  }
  writer.finish();
  return {files.stat(path)->size, to_hex(hasher.finish())};
}

// Everything about a model but its parameters, in the words of config.json.
json::value model_object(const model::Config& config) {
  return json::parse(model::huggingface_config_to_json({.config = config}), "config.json");
}

// "hidden_size 64, here 48".
std::string differences(const json::object& theirs, const json::object& ours) {
  std::vector<std::string> all;
  for (const auto& field : ours) {
    const json::value* other = theirs.if_contains(field.key());
    if (other && *other == field.value()) continue;
    all.push_back(fmt::format("{} {}, here {}", std::string_view(field.key()),
                              other ? json::serialize(*other) : "unknown", json::serialize(field.value())));
  }
  return fmt::format("{}", fmt::join(all, "; "));
}

std::string manifest_text(const model::Config& config, const TrainTensors& all, const TrainInput& input,
                          const TrainState& state, const Written& shard) {
  json::array tensors;
  for (const NamedTensor& entry : all.named) {
    json::array zeros;
    for (int i = 0; i < entry.data.rank(); ++i) zeros.push_back(0);
    // One shard holds every tensor whole; a reader must not rely on that.
    tensors.push_back({{"name", entry.name},
                       {"dtype", type_of(entry.data)},
                       {"shape", shape_in_json(entry.data)},
                       {"offset", zeros},
                       {"extent", shape_in_json(entry.data)},
                       {"file", kShard}});
  }
  json::array losses;
  for (const double loss : state.losses.losses()) {
    losses.push_back(json::value(fmt::format("{}", loss)));  // to the last bit, as a JSON number is not
  }
  json::object listed{{kShard, {{"size", shard.size}, {"data_sha256", shard.data_sha256}}}};
  if (const std::string& text = input.text.tokenizer; !text.empty()) {
    listed[kTokenizer] = {{"size", text.size()}, {"data_sha256", to_hex(sha256(text))}};
  }
  const json::object manifest{
      {"version", kVersion},
      {"step", state.step},
      {"batch", input.batch},
      {"length", input.length},
      {"seed", std::to_string(input.seed)},  // a JSON number holds 53 bits
      {"text", {{"tokens", input.text.tokens}, {"fingerprint", input.text.fingerprint}, {"now", input.text.now}}},
      {"tokens_seen", state.tokens_seen},
      {"first_evaluation_loss", state.first_evaluation_loss},
      {"data_position", {{"next_step", state.data_step + 1}}},
      {"skipped_steps", state.skipped_steps},
      {"skipped_in_a_row", state.skipped_in_a_row},
      {"rollbacks", state.rollbacks},
      {"recent_losses", losses},
      {"dtype", all.dtype},
      {"optimizer", all.optimizer},
      {"adapters", all.adapters},
      {"objective", all.objective},
      {"model", model_object(config)},
      {"files", listed},
      {"tensors", tensors},
  };
  return json::serialize(manifest) + "\n";
}

Error damaged(const std::string& path, std::string_view what) {
  return Error(ErrorKind::kCorrupt, "Reading checkpoint {}: {}", path, what);
}

// A whole file, no larger than `bytes_max`.
std::string read_small(Files& files, const std::string& path, std::uint64_t bytes_max) {
  const auto info = files.stat(path);
  if (!info) throw damaged(path, "it is missing");
  if (info->size > bytes_max) throw damaged(path, "it is too large to be what it should be");
  return files.read_all(path);
}

Error not_ours(const std::string& path, const std::exception& why) {
  return damaged(path, std::string("checkpoint.json is not one of ours: ") + why.what());
}

// The manifest, of the version that is known here: how one of another version goes on, nobody can tell.
json::object parse_manifest(const std::string& path, const std::string& text) {
  json::object manifest;
  std::int64_t version = 0;
  try {
    manifest = json::parse(text, path).as_object();
    version = json::get_int(manifest, "version");
  } catch (const std::exception& error) {
    throw not_ours(path, error);
  }
  if (version != kVersion) {
    throw Error(ErrorKind::kInvalid,
                "Going on from checkpoint {}: it has version {}, and this program knows version {}; go on with the "
                "program that wrote it, or give the run an empty checkpoint folder",
                path, version, kVersion);
  }
  return manifest;
}

// What the checkpoint was made from, but for its tokenizer.
TrainInput input_of(const std::string& path, const json::object& manifest) {
  try {
    const json::object* text = json::find_object(manifest, "text");
    if (!text) throw Error(ErrorKind::kInvalid, "it does not tell its text");
    return {.batch = json::get_int(manifest, "batch"),
            .length = json::get_int(manifest, "length"),
            .seed = std::stoull(json::get_string(manifest, "seed")),
            .text = {.tokens = json::get_int(*text, "tokens"),
                     .fingerprint = json::get_string(*text, "fingerprint"),
                     .now = json::find_int(*text, "now").value_or(0)}};
  } catch (const std::exception& error) {
    throw not_ours(path, error);
  }
}

// The position in the data is a number of steps: with another batch, length or seed it would be that of other sequences.
void check_position(const std::string& path, const TrainInput& found, const TrainInput& input) {
  const auto same = [&](std::string_view name, auto theirs, auto ours) {
    if (theirs == ours) return;
    throw Error(
        ErrorKind::kInvalid,
        "Going on from checkpoint {}: it was made with {} {}, and this run has {}; give the same, or give the run "
        "an empty checkpoint folder",
        path, name, theirs, ours);
  };
  same("batch", found.batch, input.batch);
  same("length", found.length, input.length);
  same("seed", found.seed, input.seed);
}

// Another optimizer keeps another state, another objective other references. Those that say nothing are of float32 and AdamW.
void check_kind(const std::string& path, const json::object& manifest, const TrainTensors& tensors) {
  for (const auto& [name, usual, ours] : {std::tuple{"dtype", "float32", &tensors.dtype},
                                          {"optimizer", "adamw", &tensors.optimizer},
                                          {"adapters", "none", &tensors.adapters},
                                          {"objective", "language", &tensors.objective}}) {
    const std::string theirs = json::find_string(manifest, name).value_or(usual);
    if (theirs == *ours) continue;
    throw Error(
        ErrorKind::kInvalid,
        "Going on from checkpoint {}: it was made with {} {}, and this run has {}; give the same, or give the run "
        "an empty checkpoint folder",
        path, name, theirs, *ours);
  }
}

// The checkpoint's tokenizer, packed; empty when it has none.
std::string read_tokenizer(Files& files, const std::string& path, const json::object& manifest) {
  const json::object* listed = json::find_object(manifest, "files");
  const json::object* described = listed ? json::find_object(*listed, kTokenizer) : nullptr;
  if (!described) return {};
  const std::string file = path + "/" + std::string(kTokenizer);
  const std::string text = read_small(files, file, kTokenizerBytesMax);
  if (json::find_string(*described, "data_sha256") != to_hex(sha256(text))) {
    throw damaged(file, "its contents have changed since it was written");
  }
  return text;
}

// What a run goes on from. Throws anything.
TrainState state_of(const json::object& manifest) {
  TrainState state;
  state.step = json::get_int(manifest, "step");
  state.tokens_seen = json::get_int(manifest, "tokens_seen");
  state.first_evaluation_loss = json::find_double(manifest, "first_evaluation_loss").value_or(0);
  const json::object* position = json::find_object(manifest, "data_position");
  state.data_step = position ? json::get_int(*position, "next_step") - 1 : state.step;
  state.skipped_steps = json::find_int(manifest, "skipped_steps").value_or(0);
  state.skipped_in_a_row = json::find_int(manifest, "skipped_in_a_row").value_or(0);
  state.rollbacks = json::find_int(manifest, "rollbacks").value_or(0);
  if (state.step < 0 || state.data_step < state.step || state.skipped_steps < 0 || state.skipped_steps > state.step) {
    throw Error(ErrorKind::kInvalid, "it has done {} steps with the data of {}, {} of them skipped", state.step,
                state.data_step, state.skipped_steps);
  }
  if (const json::array* losses = json::find_array(manifest, "recent_losses")) {
    for (const json::value& loss : *losses) state.losses.add(std::stod(std::string(loss.as_string())));
  }
  return state;
}

// Checks that what the index says of a tensor is what this model wants, whole in our one shard.
void check_tensor(const std::string& path, const json::object& tensor, const NamedTensor& entry) {
  const json::array* shape = json::find_array(tensor, "shape");
  const json::array* extent = json::find_array(tensor, "extent");
  if (!shape || !extent || *extent != *shape || json::get_string(tensor, "file") != kShard ||
      *shape != shape_in_json(entry.data) || json::get_string(tensor, "dtype") != type_of(entry.data)) {
    throw damaged(path, "the index describes tensor " + entry.name + " otherwise than the model has it");
  }
}

// Reads the shard's tensors, which must be `entries` in their order, and checks their hash.
void read_shard(Files& files, const std::string& path, const json::object& expected,
                const std::vector<NamedTensor>& entries) {
  const auto info = files.stat(path);
  if (!info) throw damaged(path, "it is missing");
  const auto size = static_cast<std::uint64_t>(json::get_int(expected, "size"));
  if (info->size != size) throw damaged(path, fmt::format("it has {} bytes instead of {}", info->size, size));
  const auto file = files.open(path, Files::Open::kRead);
  std::uint64_t at = 0;
  const auto take = [&](std::span<char> into) {
    while (!into.empty()) {
      const std::size_t got = file->read_at(at, into.subspan(0, std::min(kPiece, into.size())));
      if (got == 0) throw damaged(path, "it ends early");
      at += got;
      into = into.subspan(got);
    }
  };
  std::string start(8, '\0');
  take(start);
  std::uint64_t header_bytes = 0;
  for (std::size_t i = 8; i-- > 0;) header_bytes = header_bytes << 8 | static_cast<unsigned char>(start[i]);
  if (header_bytes > std::min(kShardHeaderBytesMax, size)) throw damaged(path, "its header is too long");
  start.resize(8 + header_bytes);
  take(std::span(start).subspan(8));
  const model::SafetensorsHeader header = model::parse_safetensors_header(start, size, path);
  if (header.entries.size() != entries.size()) throw damaged(path, "it has another number of tensors");
  Hasher hasher("SHA256");
  for (std::size_t i = 0; i < entries.size(); ++i) {
    const model::SafetensorsEntry& found = header.entries[i];
    if (found.name != entries[i].name || found.dtype != type_of(entries[i].data) ||
        found.shape != shape_of(entries[i].data)) {
      throw damaged(path, "it has tensor " + found.name + " where " + entries[i].name + " should be");
    }
    const std::span<char> into(static_cast<char*>(entries[i].data.data()), entries[i].data.bytes());
    take(into);
    hasher.update({into.data(), into.size()});
  }
  if (to_hex(hasher.finish()) != json::get_string(expected, "data_sha256")) {
    throw damaged(path, "its contents have changed since it was written");
  }
}

std::string temporary_name(const std::string& name) { return "." + name + ".tmp"; }

bool is_temporary(std::string_view name) {
  return name.starts_with("." + std::string(kPrefix)) && name.ends_with(".tmp");
}

// Removes a checkpoint so that it is never seen in part: its name goes first, also for a power failure.
void remove_checkpoint(Files& files, const std::string& folder, const std::string& name) {
  const std::string hidden = folder + "/" + temporary_name(name + ".removed");
  files.remove_all(hidden);
  files.rename(folder + "/" + name, hidden);
  files.sync_folder(folder);
  files.remove_all(hidden);
}

}  // namespace

std::string checkpoint_name(std::int64_t step) { return fmt::format("{}{:08}", kPrefix, step); }

void make_durable_folders(Files& files, const std::string& folder) {
  std::vector<std::string> parents;  // of those to make, the innermost first
  for (std::string path = folder; !files.stat(path); path = parents.back()) parents.push_back(folder_of(path));
  files.make_folders(folder);
  for (const std::string& parent : parents) files.sync_folder(parent);
}

std::vector<std::string> list_checkpoints(Files& files, const std::string& folder) {
  std::vector<std::pair<std::int64_t, std::string>> found;
  if (files.stat(folder)) {
    for (const std::string& name : files.list(folder)) {
      if (!name.starts_with(kPrefix)) continue;
      std::int64_t step = 0;
      const char* end = name.data() + name.size();
      const auto parsed = std::from_chars(name.data() + kPrefix.size(), end, step);
      if (parsed.ec == std::errc() && parsed.ptr == end && name == checkpoint_name(step)) {
        found.emplace_back(step, name);
      }
    }
  }
  std::sort(found.rbegin(), found.rend());
  std::vector<std::string> names;
  for (auto& [step, name] : found) names.push_back(std::move(name));
  return names;
}

std::string save_checkpoint(Files& files, const std::string& folder, const model::Config& config,
                            const TrainInput& input, const TrainState& state, const TrainTensors& tensors,
                            std::int64_t kept, Snapshot* snapshot) {
  ATHANOR_ASSERT(kept >= 1 && state.step >= 0);
  make_durable_folders(files, folder);
  for (const std::string& name : files.list(folder)) {
    if (is_temporary(name)) files.remove_all(folder + "/" + name);
  }
  const std::string name = checkpoint_name(state.step);
  const std::string temporary = folder + "/" + temporary_name(name);
  files.make_folders(temporary);
  const Written shard = write_shard(files, temporary + "/" + std::string(kShard), tensors.named, snapshot);
  if (!input.text.tokenizer.empty()) files.replace(temporary + "/" + std::string(kTokenizer), input.text.tokenizer);
  files.replace(temporary + "/" + std::string(kManifest), manifest_text(config, tensors, input, state, shard));
  files.sync_folder(temporary);
  // Only a damaged checkpoint can stand in the way: a whole one would have been gone on from.
  if (files.stat(folder + "/" + name)) remove_checkpoint(files, folder, name);
  files.rename(temporary, folder + "/" + name);
  files.sync_folder(folder);

  // Later ones were damaged too; counted among the kept, they would push out the whole ones that this run makes.
  const std::vector<std::string> all = list_checkpoints(files, folder);
  const auto later = static_cast<std::size_t>(std::find(all.begin(), all.end(), name) - all.begin());
  for (std::size_t i = all.size(); i-- > 0;) {
    if (i < later || i - later >= static_cast<std::size_t>(kept)) remove_checkpoint(files, folder, all[i]);
  }
  return name;
}

std::optional<TrainText> find_text(Files& files, const std::string& folder, const TrainInput& input) {
  for (const std::string& name : list_checkpoints(files, folder)) {
    const std::string path = folder + "/" + name;
    try {
      const json::object manifest =
          parse_manifest(path, read_small(files, path + "/" + std::string(kManifest), kManifestBytesMax));
      const TrainInput found = input_of(path, manifest);
      check_position(path, found, input);
      TrainText text = found.text;
      text.tokenizer = read_tokenizer(files, path, manifest);
      if (text.tokenizer.empty()) return std::nullopt;
      return text;
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::kCorrupt) throw;  // load_newest_checkpoint tells of the damaged ones
    }
  }
  return std::nullopt;
}

TrainState load_checkpoint(Files& files, const std::string& folder, const std::string& name,
                           const model::Config& config, const TrainInput& input, const TrainTensors& tensors) {
  const std::string path = folder + "/" + name;
  const std::string text = read_small(files, path + "/" + std::string(kManifest), kManifestBytesMax);
  const json::object manifest = parse_manifest(path, text);
  TrainState state;
  std::map<std::string, const json::object*> named;
  const json::object* shard = nullptr;
  try {
    state = state_of(manifest);
    const json::object* list = json::find_object(manifest, "files");
    shard = list ? json::find_object(*list, kShard) : nullptr;
    const json::array* all = json::find_array(manifest, "tensors");
    if (!shard || !all) throw Error(ErrorKind::kInvalid, "it lists no files or tensors");
    for (const json::value& tensor : *all) named[json::get_string(tensor.as_object(), "name")] = &tensor.as_object();
  } catch (const std::exception& error) {
    throw not_ours(path, error);
  }
  const TrainInput found = input_of(path, manifest);
  check_position(path, found, input);
  if (read_tokenizer(files, path, manifest) != input.text.tokenizer) {
    throw Error(
        ErrorKind::kInvalid,
        "Going on from checkpoint {}: its tokenizer is another than this run's, and its parameters know only the "
        "former; give the tokenizer that lies there, or give the run an empty checkpoint folder",
        path);
  }
  check_kind(path, manifest, tensors);
  const json::object* made_for = json::find_object(manifest, "model");
  if (!made_for || json::value(*made_for) != model_object(config)) {
    throw Error(ErrorKind::kInvalid,
                "Going on from checkpoint {}: it is of another model than this run's ({}); give the run an empty "
                "checkpoint folder, or the model's own options",
                path, made_for ? differences(*made_for, model_object(config).as_object()) : "unknown");
  }
  for (const NamedTensor& entry : tensors.named) {
    const auto found = named.find(entry.name);
    if (found == named.end()) throw damaged(path, "tensor " + entry.name + " is missing");
    check_tensor(path, *found->second, entry);
  }
  try {
    read_shard(files, path + "/" + std::string(kShard), *shard, tensors.named);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kInvalid) throw;
    throw damaged(path, error.what());
  }
  if (found.text.tokens != input.text.tokens || found.text.fingerprint != input.text.fingerprint) {
    log::warning("train",
                 "The text has changed since checkpoint {} ({} tokens now, {} then): step {} comes from the new one",
                 path, input.text.tokens, found.text.tokens, state.step + 1);
  }
  return state;
}

std::optional<TrainState> load_newest_checkpoint(Files& files, const std::string& folder, const model::Config& config,
                                                 const TrainInput& input, const TrainTensors& tensors) {
  for (const std::string& name : list_checkpoints(files, folder)) {
    try {
      return load_checkpoint(files, folder, name, config, input, tensors);
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::kCorrupt) throw;
      log::warning("train", "Skipping a damaged checkpoint. {}", error.what());
    }
  }
  return std::nullopt;
}

}  // namespace athanor::train
