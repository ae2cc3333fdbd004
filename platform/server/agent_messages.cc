#include "platform/server/agent_messages.h"

#include "common/error.h"
#include "common/json.h"
#include "platform/api/honoured.h"
#include "platform/node/agent.pb.h"
#include "platform/node/messages.h"

namespace athanor::server {
namespace {

namespace proto = node::proto;

control::Phase read_phase(int from) {
  if (from < static_cast<int>(control::Phase::kIdle) || from > static_cast<int>(control::Phase::kBroken)) {
    throw Error(
        ErrorKind::kInvalid,
        "reading an agent's message: it is in phase {}, which this server does not know; start the server in the "
        "version that began the job, or end the job and begin it again",
        from);
  }
  return static_cast<control::Phase>(from);
}

void check_protocol(std::uint32_t spoken) {
  if (spoken == node::kAgentProtocol) return;
  throw Error(ErrorKind::kInvalid,
              "reading an agent's message: it speaks version {} of the protocol, and this server version {}; start the "
              "server in the version that began the job, or end the job and begin it again",
              spoken, node::kAgentProtocol);
}

control::Report read_report(const proto::Report& from) {
  control::Report report;
  report.job = from.job();
  report.attempt = from.attempt();
  report.last_sequence = from.last_sequence();
  report.phase = read_phase(from.phase());
  report.detail = from.detail();
  if (from.has_exit()) report.exit = control::Exit{from.exit().code(), from.exit().failure(), from.exit().terminated()};
  report.staged_key = from.staged_key();
  report.error = from.error();
  for (const auto& metric : from.metrics()) {
    report.metrics.push_back({metric.name(), metric.value(), metric.timestamp_ms()});
  }
  return report;
}

void write_strings(const json::object& from, std::string_view key,
                   google::protobuf::Map<std::string, std::string>* into) {
  if (const auto* object = json::find_object(from, key)) {
    for (const auto& [name, value] : *object) (*into)[std::string(name)] = std::string(value.as_string());
  }
}

void write_channel(const json::object& from, const std::string& job_input_mode, proto::Channel* into) {
  into->set_name(json::get_string(from, "ChannelName"));
  into->set_input_mode(json::find_string(from, "InputMode").value_or(job_input_mode));
  into->set_content_type(json::find_string(from, "ContentType").value_or(""));
  into->set_record_wrapper(json::find_string(from, "RecordWrapperType").value_or("None"));
  const auto* source = json::find_object(from, "DataSource");
  const auto* s3 = source == nullptr ? nullptr : json::find_object(*source, "S3DataSource");
  if (s3 == nullptr) {
    throw Error(ErrorKind::kInvalid, "preparing channel {}: it has no S3DataSource, and nothing else is supported",
                into->name());
  }
  into->set_s3_uri(json::get_string(*s3, "S3Uri"));
  into->set_sharded(json::find_string(*s3, "S3DataDistributionType").value_or("") == "ShardedByS3Key");
}

void write_job(const control::JobRecord& record, const JobSurroundings& surroundings, proto::JobSpec* into) {
  const json::value request_value = json::parse(record.job.request, "a stored training job");
  const auto& request = request_value.as_object();
  into->set_name(record.job.name);
  into->set_arn(record.job.arn);
  into->set_region(surroundings.region);
  std::string input_mode = "File";
  if (const auto* algorithm = json::find_object(request, "AlgorithmSpecification")) {
    into->set_image(api::training_image(json::find_string(*algorithm, "TrainingImage").value_or("")));
    input_mode = json::find_string(*algorithm, "TrainingInputMode").value_or(input_mode);
    if (const auto* entrypoint = json::find_array(*algorithm, "ContainerEntrypoint")) {
      for (const auto& word : *entrypoint) into->add_entrypoint(std::string(word.as_string()));
    }
    if (const auto* arguments = json::find_array(*algorithm, "ContainerArguments")) {
      for (const auto& word : *arguments) into->add_arguments(std::string(word.as_string()));
    }
    if (const auto* metrics = json::find_array(*algorithm, "MetricDefinitions")) {
      for (const auto& metric : *metrics) {
        auto* definition = into->add_metrics();
        definition->set_name(json::get_string(metric.as_object(), "Name"));
        definition->set_regex(json::get_string(metric.as_object(), "Regex"));
      }
    }
  }
  write_strings(request, "Environment", into->mutable_environment());
  write_strings(request, "HyperParameters", into->mutable_hyperparameters());
  if (const auto* channels = json::find_array(request, "InputDataConfig")) {
    for (const auto& channel : *channels) write_channel(channel.as_object(), input_mode, into->add_channels());
  }
  if (const auto* output = json::find_object(request, "OutputDataConfig")) {
    into->set_output_path(json::get_string(*output, "S3OutputPath"));
    into->set_compress_output(json::find_string(*output, "CompressionType").value_or("GZIP") != "NONE");
  }
  if (const auto* checkpoints = json::find_object(request, "CheckpointConfig")) {
    into->set_checkpoint_uri(json::get_string(*checkpoints, "S3Uri"));
    into->set_checkpoint_path(json::find_string(*checkpoints, "LocalPath").value_or("/opt/ml/checkpoints"));
  }
  into->set_s3_endpoint(surroundings.network.endpoint);
  into->set_ca_bundle(surroundings.ca_bundle);
  auto* credentials = into->mutable_credentials();
  credentials->set_access_key_id(surroundings.role.access_key_id);
  credentials->set_secret_access_key(surroundings.role.secret_access_key);
  credentials->set_session_token(surroundings.role.session_token);
  credentials->set_expires_ms(surroundings.role.expires_ms);
}

void write_instance(const control::JobRecord& record, const control::InstanceRecord& instance,
                    const compute::Network& network, proto::Instance* into) {
  into->set_index(instance.index);
  into->set_count(static_cast<std::uint32_t>(record.job.instance_count));
  into->set_instance_type(record.job.instance_type);
  for (const auto cpu : instance.slot.cpus) into->add_cpus(cpu);
  for (const auto& address : network.addresses) into->add_addresses(address);
}

}  // namespace

FromAgent decode_from_agent(std::string_view bytes) {
  proto::FromAgent message;
  if (!message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    throw Error(ErrorKind::kInvalid, "reading an agent's message: {} bytes that are none", bytes.size());
  }
  switch (message.word_case()) {
    case proto::FromAgent::kHello:
      check_protocol(message.hello().protocol());
      return AgentHello{message.hello().instance(), message.hello().token(), read_report(message.hello().report())};
    case proto::FromAgent::kReport: return AgentReport{read_report(message.report())};
    case proto::FromAgent::kLogs: {
      AgentLogs logs{message.logs().stream(), message.logs().offset(), message.logs().end_offset(), {}};
      logs.events.reserve(static_cast<std::size_t>(message.logs().lines_size()));
      for (auto& line : *message.mutable_logs()->mutable_lines()) {
        storage::LogEvent event;
        event.timestamp_ms = line.timestamp_ms();
        event.message = std::move(*line.mutable_text());
        logs.events.push_back(std::move(event));
      }
      return logs;
    }
    case proto::FromAgent::kProgress: {
      AgentProgress progress;
      for (const auto& [name, value] : message.progress().values()) progress.values[name] = value;
      return progress;
    }
    case proto::FromAgent::WORD_NOT_SET: break;
  }
  throw Error(ErrorKind::kInvalid, "reading an agent's message: it says nothing that this server knows");
}

std::string encode_order(const control::JobRecord& record, const control::InstanceRecord& instance,
                         const control::Action& action, const control::Tell& tell,
                         const JobSurroundings& surroundings) {
  proto::ToAgent message;
  proto::Action* into = message.mutable_action();
  into->set_job(record.job.name);
  into->set_attempt(action.attempt);
  into->set_sequence(action.sequence);
  switch (tell.order) {
    case control::Order::kNone: ATHANOR_ASSERT(!"an order to do nothing"); break;
    case control::Order::kPrepare:
      write_job(record, surroundings, into->mutable_prepare()->mutable_job());
      write_instance(record, instance, surroundings.network, into->mutable_prepare()->mutable_instance());
      break;
    case control::Order::kStart: into->mutable_start(); break;
    case control::Order::kTerminate: into->mutable_terminate()->set_grace_s(tell.grace_s); break;
    case control::Order::kStage: into->mutable_stage(); break;
    case control::Order::kPublish:
      for (const auto& key : tell.staged_keys) into->mutable_publish()->add_staged_keys(key);
      into->mutable_publish();
      break;
    case control::Order::kRelease: into->mutable_release(); break;
  }
  return message.SerializeAsString();
}

std::string encode_logs_acknowledged(std::uint64_t offset) {
  proto::ToAgent message;
  message.mutable_logs_acknowledged()->set_offset(offset);
  return message.SerializeAsString();
}

}  // namespace athanor::server
