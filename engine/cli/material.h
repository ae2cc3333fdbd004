// What a run works on: the model that it begins with, its tokenizer, and what it shall learn from which examples. Rank 0 reads the files
// and the others are told, so that all have the same, whatever their disks hold.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "common/files.h"
#include "engine/cli/settings.h"
#include "engine/data/preference_sequences.h"
#include "engine/data/sequences.h"
#include "engine/model/model_source.h"
#include "engine/model/tokenizer/tokenizer.h"
#include "engine/parallel/collectives.h"
#include "engine/train/checkpoint.h"
#include "engine/train/objective.h"
#include "engine/train/options.h"

namespace athanor::llm {

// Where it comes from; only rank 0's matter.
struct Sources {
  std::vector<std::string> train;     // files and folders
  std::vector<std::string> held_out;  // likewise; may be empty
  std::string model;  // that goes on learning; of a pre-training, one whose shape and tokenizer are taken, may be empty
  std::string tokenizer;      // a folder or file; empty: the model's, or one is trained on the texts
  std::string chat_template;  // a file to use in place of the tokenizer's own; may be empty
  std::string checkpoints;    // the folder of a run that is gone on with; empty: it begins now
};

struct Material {
  model::HuggingFaceModel model;               // its shape, and what is written beside the weights
  std::unique_ptr<model::ModelSource> source;  // of the weights to begin with, on rank 0; null: new ones, from the seed
  model::Tokenizer tokenizer;
  train::TrainText text;
  train::TrainOptions options;  // what was told, with what depends on the data
  // The examples: sequences, or pairs.
  std::unique_ptr<data::Sequences> sequences;
  std::unique_ptr<data::PreferenceSequences> pairs, held_out_pairs;
  std::unique_ptr<train::Objective> objective;  // on them
  std::int64_t examples_in_epoch = 0;
  std::vector<std::string> notes;  // about the data, for people; rank 0's
};

// Throws kInvalid, kNotFound, kDenied, kCorrupt, with what was found and what would do; on other ranks kUnavailable when
// rank 0 fails.
Material prepare_material(Files& files, const Sources& sources, const TrainSettings& settings,
                          parallel::Collectives& collectives);

}  // namespace athanor::llm
