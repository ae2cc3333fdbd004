#include "platform/node/messages.h"

#include <algorithm>
#include <utility>

#include "common/error.h"
#include "common/relative_path.h"
#include "platform/node/agent.pb.h"
#include "platform/node/output_lines.h"

namespace athanor::node {

namespace {

constexpr std::size_t kInstancesMax = 1024;
constexpr std::size_t kChannelsMax = 20;

[[noreturn]] void refuse(const std::string& why) {
  throw Error(ErrorKind::kInvalid, "reading the server's message: {}", why);
}

JobSpec read_job(const proto::JobSpec& from) {
  JobSpec job;
  job.name = from.name();
  job.arn = from.arn();
  job.region = from.region();
  job.image = from.image();
  job.entrypoint.assign(from.entrypoint().begin(), from.entrypoint().end());
  job.arguments.assign(from.arguments().begin(), from.arguments().end());
  job.environment.insert(from.environment().begin(), from.environment().end());
  job.hyperparameters.insert(from.hyperparameters().begin(), from.hyperparameters().end());
  if (from.channels_size() > static_cast<int>(kChannelsMax)) refuse("too many channels");
  for (const auto& channel : from.channels()) {
    if (!is_file_name(channel.name())) refuse("a channel's name is not the name of a folder");
    job.channels.push_back({channel.name(), channel.s3_uri(), channel.sharded(), channel.input_mode(),
                            channel.content_type(), channel.record_wrapper()});
  }
  job.output_path = from.output_path();
  job.compress_output = from.compress_output();
  job.checkpoint_uri = from.checkpoint_uri();
  job.checkpoint_path = from.checkpoint_path();
  job.s3_endpoint = from.s3_endpoint();
  job.credentials = {from.credentials().access_key_id(), from.credentials().secret_access_key(),
                     from.credentials().session_token(), from.credentials().expires_ms()};
  for (const auto& metric : from.metrics()) job.metrics.push_back({metric.name(), metric.regex()});
  job.ca_bundle = from.ca_bundle();
  if (!is_file_name(job.name)) refuse("the job has no proper name");
  return job;
}

Instance read_instance(const proto::Instance& from) {
  Instance instance;
  instance.index = from.index();
  instance.count = from.count();
  instance.instance_type = from.instance_type();
  instance.cpus.assign(from.cpus().begin(), from.cpus().end());
  instance.addresses.assign(from.addresses().begin(), from.addresses().end());
  if (instance.count == 0 || instance.count > kInstancesMax) refuse("a job has 1 to 1024 instances");
  if (instance.index >= instance.count) refuse("the instance's index is beyond their count");
  if (!instance.addresses.empty() && instance.addresses.size() != instance.count) {
    refuse("there must be one address for each instance");
  }
  return instance;
}

Ordered read_action(const proto::Action& from) {
  Ordered ordered;
  Command& command = ordered.command;
  command.job = from.job();
  command.attempt = from.attempt();
  command.sequence = from.sequence();
  if (command.attempt == 0 || command.sequence == 0) refuse("attempts and sequences count from 1");
  switch (from.what_case()) {
    case proto::Action::kPrepare:
      command.kind = Command::Kind::kPrepare;
      ordered.prepare = std::make_shared<const Prepare>(
          Prepare{read_job(from.prepare().job()), read_instance(from.prepare().instance())});
      break;
    case proto::Action::kStart: command.kind = Command::Kind::kStart; break;
    case proto::Action::kTerminate:
      command.kind = Command::Kind::kTerminate;
      command.grace_s = from.terminate().grace_s();
      break;
    case proto::Action::kStage: command.kind = Command::Kind::kStage; break;
    case proto::Action::kPublish:
      command.kind = Command::Kind::kPublish;
      command.staged_keys.assign(from.publish().staged_keys().begin(), from.publish().staged_keys().end());
      break;
    case proto::Action::kRelease: command.kind = Command::Kind::kRelease; break;
    case proto::Action::WHAT_NOT_SET:
      refuse("an action of a kind that this agent does not know; is the server newer than the agent?");
  }
  return ordered;
}

// What tells of the job may hold names of its files, in any encoding; a string of a message that is not UTF-8 would make
// the server refuse the whole.
void fill(proto::Report& to, const Report& report) {
  to.set_job(report.job);
  to.set_attempt(report.attempt);
  to.set_last_sequence(report.last_sequence);
  to.set_phase(static_cast<proto::Phase>(report.phase));
  to.set_detail(to_utf8(report.detail));
  if (report.exit) {
    to.mutable_exit()->set_code(report.exit->code);
    to.mutable_exit()->set_failure(to_utf8(report.exit->failure));
    to.mutable_exit()->set_terminated(report.exit->terminated);
  }
  to.set_staged_key(report.staged_key);
  to.set_error(to_utf8(report.error));
  for (const FinalMetric& metric : report.metrics) {
    auto* added = to.add_metrics();
    added->set_name(metric.name);
    added->set_value(metric.value);
    added->set_timestamp_ms(metric.timestamp_ms);
  }
}

std::string serialized(const google::protobuf::MessageLite& message) {
  std::string bytes;
  ATHANOR_ASSERT(message.SerializeToString(&bytes));
  return bytes;
}

}  // namespace

FromServer decode(std::string_view bytes) {
  if (bytes.size() > kAgentMessageBytesMax) refuse("it is longer than 16 MiB");
  proto::ToAgent message;
  if (!message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) refuse("it is not a ToAgent message");
  switch (message.word_case()) {
    case proto::ToAgent::kAction: return read_action(message.action());
    case proto::ToAgent::kLogsAcknowledged: return LogsAcknowledged{message.logs_acknowledged().offset()};
    case proto::ToAgent::WORD_NOT_SET: break;
  }
  refuse("a word that this agent does not know; is the server newer than the agent?");
}

std::string encode_hello(const std::string& instance, const std::string& token, const Report& report) {
  proto::FromAgent message;
  auto* hello = message.mutable_hello();
  hello->set_protocol(kAgentProtocol);
  hello->set_instance(instance);
  hello->set_token(token);
  fill(*hello->mutable_report(), report);
  return serialized(message);
}

std::string encode_report(const Report& report) {
  proto::FromAgent message;
  fill(*message.mutable_report(), report);
  return serialized(message);
}

std::string encode_logs(const std::string& stream, std::uint64_t offset, std::uint64_t end_offset,
                        const std::vector<LogLine>& lines) {
  proto::FromAgent message;
  auto* logs = message.mutable_logs();
  logs->set_stream(stream);
  logs->set_offset(offset);
  logs->set_end_offset(end_offset);
  for (const LogLine& line : lines) {
    auto* added = logs->add_lines();
    added->set_timestamp_ms(line.timestamp_ms);
    added->set_text(line.text);
  }
  return serialized(message);
}

std::string encode_progress(const std::string& job, std::uint32_t attempt,
                            const std::map<std::string, double>& values) {
  proto::FromAgent message;
  auto* progress = message.mutable_progress();
  progress->set_job(job);
  progress->set_attempt(attempt);
  for (const auto& [name, value] : values) (*progress->mutable_values())[name] = value;
  return serialized(message);
}

}  // namespace athanor::node
