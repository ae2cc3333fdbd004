// agent.proto in and out of plain structs, for the agent's end of the link. The only file here that sees protobuf.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "platform/node/agent_machine.h"
#include "platform/node/job_spec.h"

namespace athanor::node {

inline constexpr std::uint32_t kAgentProtocol = 1;
inline constexpr std::size_t kAgentMessageBytesMax = 16 << 20;

struct LogLine {
  std::int64_t timestamp_ms = 0;
  std::string text;
};

struct LogsAcknowledged {
  std::uint64_t offset = 0;
};
struct Ordered {
  Command command;
  std::shared_ptr<const Prepare> prepare;  // with Command::Kind::kPrepare, else null
};

using FromServer = std::variant<Ordered, LogsAcknowledged>;

// Throws kInvalid when the bytes are not a message that this agent understands, or when what it says cannot be (no
// job, an index beyond the count, a channel name that would leave its folder).
FromServer decode(std::string_view bytes);

std::string encode_hello(const std::string& instance, const std::string& token, const Report& report);
std::string encode_report(const Report& report);
std::string encode_logs(const std::string& stream, std::uint64_t offset, std::uint64_t end_offset,
                        const std::vector<LogLine>& lines);
std::string encode_progress(const std::string& job, std::uint32_t attempt, const std::map<std::string, double>& values);

}  // namespace athanor::node
