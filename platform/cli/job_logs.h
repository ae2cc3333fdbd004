// The lines that a job printed, host by host, as they come.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>

#include "platform/cli/connection.h"
#include "platform/cli/terminal.h"

namespace athanor::cli {

struct JobLine {
  std::string host;  // "algo-1"
  std::int64_t timestamp_ms = 0;
  std::string text;
};

// Whether the lines of a job, as DescribeTrainingJob tells it, need their host's name: it has several.
bool has_several_hosts(const json::object& description);
// As people read it: the text, behind its host's name in the host's colour where that is asked for.
std::string format_job_line(const Terminal& out, const JobLine& line, bool name_host);

// Reads on from where it was, also after a call that threw: no line comes twice. What deleted jobs of the same name have
// printed stays in the log group, but is not this job's. One thread.
class JobLogs {
 public:
  // `host` empty: all.
  JobLogs(Connection& connection, std::string name, std::string host);

  // Everything that is new since the last call, each host's lines in their order. Returns how many.
  std::size_t read(const std::function<void(const JobLine&)>& take);
  std::size_t hosts() const { return tokens_.size(); }

 private:
  std::size_t read_stream(const std::string& stream, const std::function<void(const JobLine&)>& take);

  Connection& connection_;
  const std::string name_;
  const std::string host_;
  std::optional<std::int64_t> created_s_;      // when the job was, once it is known
  std::map<std::string, std::string> tokens_;  // by stream: where to go on
};

}  // namespace athanor::cli
