// A training run from its beginning to its end: whoever asked for it, and whatever it makes.
#pragma once

#include <memory>
#include <string>

#include "common/files.h"
#include "common/temporary_folder.h"
#include "engine/cli/contract.h"
#include "engine/cli/material.h"
#include "engine/cli/settings.h"
#include "engine/cli/stop_signals.h"

namespace athanor::llm {

// All that a run needs to know.
struct Run {
  TrainSettings settings;
  Sources sources;
  std::string base;                           // how adapters name their model; empty: as sources.model does
  std::unique_ptr<TemporaryFolder> unpacked;  // where sources.model is, if it came in an archive
  std::string out;                            // folder to leave the model in
  std::string checkpoints;                    // folder; may be empty
  bool resume = false;
  bool dry = false;  // only say what it would take
  Peers peers;
  std::string agent_socket;
};

// Returns the exit code: 0, or that of the signal which stopped it. Throws when it fails.
int carry_out(Run run, Files& files, StopSignals& signals);

}  // namespace athanor::llm
