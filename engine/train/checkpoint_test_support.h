// What tests of checkpoints share: a state that is easy to tell from another, and files that stop working at any change.
#pragma once

#include <cerrno>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "common/error.h"
#include "common/files.h"
#include "engine/train/checkpoint.h"

namespace athanor::train {

inline model::Config tiny_config() {
  return {.vocab_size = 11,
          .hidden_size = 4,
          .intermediate_size = 6,
          .num_hidden_layers = 1,
          .num_attention_heads = 2,
          .num_key_value_heads = 1,
          .head_dim = 2,
          .max_position_embeddings = 8};
}

// The state of a run whose every number is `value`.
struct State {
  explicit State(float value)
      : layout(tiny_config()), parameters(size(), value), m(size(), value + 0.25F), v(size(), value + 0.5F) {}
  std::size_t size() const { return static_cast<std::size_t>(layout.size()); }
  TrainTensors tensors() {
    const auto view = [this](std::vector<float>& values) { return tensor::Tensor::of(values.data(), {layout.size()}); };
    TrainTensors all;
    all.add(layout, "", view(parameters));
    all.add(layout, "optimizer.m.", view(m));
    all.add(layout, "optimizer.v.", view(v));
    return all;
  }
  void set(float value) {
    parameters.assign(size(), value);
    m.assign(size(), value + 0.25F);
    v.assign(size(), value + 0.5F);
  }
  bool holds(float value) const {
    bool same = true;
    for (const model::ParameterInfo& info : layout.all()) {
      for (std::int64_t i = info.offset; i < info.offset + info.count; ++i) {
        const auto at = static_cast<std::size_t>(i);
        same = same && parameters[at] == value && m[at] == value + 0.25F && v[at] == value + 0.5F;
      }
    }
    return same;
  }
  model::ParameterLayout layout;
  std::vector<float> parameters, m, v;
};

inline TrainInput input() {
  return {.batch = 3, .length = 8, .seed = UINT64_MAX, .text = {.tokenizer = "{}", .tokens = 100, .fingerprint = "f00d"}};
}

// Of a run that is `step` steps old.
inline TrainState run_state(std::int64_t step) {
  TrainState state{.step = step, .data_step = step + 5, .tokens_seen = 7 * step, .first_evaluation_loss = 1.5,
                   .skipped_steps = 1, .skipped_in_a_row = 1, .rollbacks = 2};
  for (const double loss : {1.0 / 3, 2.5e-7}) state.losses.add(loss);
  return state;
}

// Files that fail at the n-th change and at every later one, as if the process had ended there. A failing write has
// written half of its bytes. A power failure may then take the names that no sync_folder() had made durable, while what
// was removed is gone: the worst that a file system may make of the order of changes.
class CrashingFiles final : public Files {
 public:
  explicit CrashingFiles(std::int64_t at) : left_(at) {}
  bool crashed() const { return left_ < 0; }

  void lose_power() {
    for (auto name = unsynced_.rbegin(); name != unsynced_.rend(); ++name) {
      if (name->from.empty()) {
        real_.remove_all(name->path);
      } else if (real_.stat(name->path)) {
        real_.rename(name->path, name->from);
      }
    }
    unsynced_.clear();
  }

  std::unique_ptr<File> open(const std::string& path, Open how, std::uint32_t mode) override {
    if (how != Open::kRead) {
      change("opening " + path);
      if (!real_.stat(path)) unsynced_.push_back({path, ""});
    }
    return std::make_unique<CrashingFile>(*this, real_.open(path, how, mode));
  }
  std::optional<FileInfo> stat(const std::string& path) override { return real_.stat(path); }
  std::vector<std::string> list(const std::string& path) override { return real_.list(path); }
  void make_folders(const std::string& path, std::uint32_t mode) override {
    change("making " + path);
    const std::size_t before = unsynced_.size();
    for (std::string made = path; !real_.stat(made); made = folder_of(made)) {
      unsynced_.insert(unsynced_.begin() + static_cast<std::ptrdiff_t>(before), {made, ""});
    }
    real_.make_folders(path, mode);
  }
  void rename(const std::string& from, const std::string& to) override {
    change("renaming " + from);
    real_.rename(from, to);
    unsynced_.push_back({to, from});
  }
  bool remove(const std::string& path) override {
    change("removing " + path);
    return real_.remove(path);
  }
  void sync_folder(const std::string& path) override {
    change("syncing " + path);
    real_.sync_folder(path);
    std::erase_if(unsynced_, [&](const Name& name) { return folder_of(name.path) == path; });
  }

 private:
  static std::string folder_of(const std::string& path) { return std::filesystem::path(path).parent_path(); }

  class CrashingFile final : public File {
   public:
    CrashingFile(CrashingFiles& files, std::unique_ptr<File> real) : files_(files), real_(std::move(real)) {}
    std::size_t read_at(std::uint64_t offset, std::span<char> into) override { return real_->read_at(offset, into); }
    void write_at(std::uint64_t offset, std::string_view bytes) override {
      if (files_.left_ == 0) real_->write_at(offset, bytes.substr(0, bytes.size() / 2));
      files_.change("writing");
      real_->write_at(offset, bytes);
    }
    void append(std::string_view bytes) override {
      if (files_.left_ == 0) real_->append(bytes.substr(0, bytes.size() / 2));
      files_.change("writing");
      real_->append(bytes);
    }
    std::uint64_t size() override { return real_->size(); }
    void truncate(std::uint64_t size) override {
      files_.change("truncating");
      real_->truncate(size);
    }
    void sync() override {
      files_.change("syncing");
      real_->sync();
    }

   private:
    CrashingFiles& files_;
    std::unique_ptr<File> real_;
  };

  // A name that a power failure may take: its file or folder was made, or was called `from` before.
  struct Name {
    std::string path;
    std::string from;  // empty: made
  };

  void change(const std::string& doing) {
    if (left_-- <= 0) {
      left_ = -1;
      throw system_error(EIO, doing);
    }
  }

  SystemFiles real_;
  std::int64_t left_;
  std::vector<Name> unsynced_;  // in the order of the changes
};

}  // namespace athanor::train
