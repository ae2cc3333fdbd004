// Shows a training job as it goes, until it ends: statuses as they come, what the program prints, and step, loss, speed
// and time left. On a terminal those stand in a block at the bottom, redrawn in place; elsewhere they are a line now and
// then, while the program itself prints nothing.
#pragma once

#include <string>

#include "common/json.h"
#include "platform/cli/connection.h"
#include "platform/cli/exit_code.h"
#include "platform/cli/terminal.h"

namespace athanor::cli {

// Returns what DescribeTrainingJob says once the job is over. Writes to `out`; the program's lines `with_lines` only.
json::object watch_job(Connection& connection, const std::string& name, const Terminal& out, bool with_lines);

// Waits without a word.
json::object await_job(Connection& connection, const std::string& name);

// A line or two on how it ended: where the model is, or why there is none.
void tell_end(const json::object& description, const Terminal& out);

// kSuccess, kJobFailed or kJobStopped.
ExitCode exit_code_of_job(const json::object& description);

Colour colour_of_status(const std::string& status);
double now_s();  // since the epoch, as the service's times are
bool is_over(const std::string& training_job_status);
// "1 min 05 s": how long it trained, or has been going on.
std::string time_taken(const json::object& description);

}  // namespace athanor::cli
