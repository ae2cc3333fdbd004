// The state of a training run on disk, each a folder that appears whole or not at all:
//
//   FOLDER/step-00000100/
//     checkpoint.json       step, data position, what it was made from (batch, length, seed, text) and the model; for
//                           every tensor its global shape, offset and extent and the file it is in; each file's size
//                           and SHA-256
//     tokenizer             the files of the tokenizer whose ids the model knows, packed (model/tokenizer/tokenizer_files.h); not
//                           there when the run was given none
//     shard-00000.safetensors   parameters and what the optimizer keeps: "NAME", "optimizer.m.NAME", "optimizer.v.NAME" and
//                           the like, as train_tensors.h has them. Parameters of bfloat16 are completed to what is trained
//                           by "remainder.NAME" (tensor/masters.h)
//
// checkpoint.json also has what was skipped and rolled back, and the last losses, so that a resumed run judges as one that
// never stopped.
//
// A folder is written as FOLDER/.step-00000100.tmp, synced and renamed, so a crash or a power failure at any moment leaves
// the older checkpoints whole and at most temporary folders, which the next save removes. Any number of ranks can load what any
// other wrote. One thread at a time; only rank 0 writes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/files.h"
#include "engine/model/config.h"
#include "engine/train/loss_history.h"
#include "engine/train/snapshot.h"
#include "engine/train/train_tensors.h"

namespace athanor::train {

// What a run goes on from, apart from the tensors.
struct TrainState {
  std::int64_t step = 0;              // steps done
  std::int64_t data_step = 0;         // of the sequences that came last; ahead of `step` by what rollbacks passed over
  std::int64_t tokens_seen = 0;       // in training, over all ranks
  double first_evaluation_loss = 0;   // 0 when there was none
  std::int64_t skipped_steps = 0;     // of `step`: without an update, because something was not finite
  std::int64_t skipped_in_a_row = 0;  // the last ones
  std::int64_t rollbacks = 0;
  LossHistory losses;
};

// The text that a run learns from.
struct TrainText {
  std::string tokenizer;  // packed; empty when there is none
  std::int64_t tokens = 0;
  std::string fingerprint;  // tells it from another of as many tokens; printable
  std::int64_t now = 0;     // when its chats were laid out, as model::ChatOptions has it; 0: not told
};

// What, beside the model, decides which sequences a step has.
struct TrainInput {
  std::int64_t batch = 0;
  std::int64_t length = 0;
  std::uint64_t seed = 0;
  TrainText text;
};

// "step-00000100"
std::string checkpoint_name(std::int64_t step);

// Makes the folder and those above it that are absent, so that their names outlast a power failure. Whoever makes the
// folder of checkpoints, or one above it, before save_checkpoint does, makes it so.
void make_durable_folders(Files& files, const std::string& folder);

// Names of what looks like a checkpoint in `folder`, newest first; empty when there is no such folder.
std::vector<std::string> list_checkpoints(Files& files, const std::string& folder);

// Writes FOLDER/step-N, and then removes those of later steps (the run would have gone on from them, were they whole)
// and all but the newest `kept` of the others. Returns the name. With `snapshot`, which has begun, the tensors are read
// through it, so that another thread may go on to change them.
std::string save_checkpoint(Files& files, const std::string& folder, const model::Config& config,
                            const TrainInput& input, const TrainState& state, const TrainTensors& tensors,
                            std::int64_t kept, Snapshot* snapshot = nullptr);

// What a run on `input` has to go on with, from the newest checkpoint that tells: the packed tokenizer, as one learned anew,
// from a text that may have changed, would give the ids other meanings than the parameters know; and the time that chat
// templates write into chats, which would be other chats on another day. Nothing when there is no tokenizer. `input.text`
// does not matter. Throws kInvalid as load_checkpoint does, but before any text was read.
std::optional<TrainText> find_text(Files& files, const std::string& folder, const TrainInput& input);

// Fills `tensors` from FOLDER/NAME. Throws kCorrupt when a file is missing, short or changed (`tensors` then hold
// anything), and kInvalid when it is of another model, batch, length, seed, tokenizer, dtype or optimizer, or of another version of this
// format. Another text is gone on with, from the same step, and the log says so: data may be added between runs.
TrainState load_checkpoint(Files& files, const std::string& folder, const std::string& name,
                           const model::Config& config, const TrainInput& input, const TrainTensors& tensors);

// The newest whole checkpoint: damaged ones are skipped with a warning in the log. Nothing when there is none.
std::optional<TrainState> load_newest_checkpoint(Files& files, const std::string& folder, const model::Config& config,
                                                 const TrainInput& input, const TrainTensors& tensors);

}  // namespace athanor::train
