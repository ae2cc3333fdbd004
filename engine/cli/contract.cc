#include "engine/cli/contract.h"

#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstring>
#include <limits>

#include "common/error.h"
#include "common/log.h"

namespace athanor::llm {

namespace {

constexpr int kRendezvousPort = 7700;
constexpr std::size_t kFailureCharacters = 1024;

json::object read_object(Files& files, const std::string& path) {
  const json::value parsed = json::parse(files.read_all(path), path);
  if (!parsed.is_object()) throw Error(ErrorKind::kInvalid, "Reading {}: it must hold one JSON object", path);
  return parsed.get_object();
}

}  // namespace

bool Contract::present() const { return files_.stat(root_ + "/input/config/hyperparameters.json").has_value(); }

json::object Contract::hyperparameters() const {
  return read_object(files_, root_ + "/input/config/hyperparameters.json");
}

json::object Contract::resources() const {
  const std::string path = root_ + "/input/config/resourceconfig.json";
  return files_.stat(path) ? read_object(files_, path) : json::object();
}

std::optional<std::string> Contract::channel(const std::string& name) const {
  const std::string path = root_ + "/input/config/inputdataconfig.json";
  if (files_.stat(path)) {
    const json::object channels = read_object(files_, path);
    if (const json::object* described = json::find_object(channels, name)) {
      const std::string mode = json::find_string(*described, "TrainingInputMode").value_or("File");
      if (mode != "File" && mode != "FastFile") {
        throw Error(ErrorKind::kInvalid,
                    "The channel \"{}\" comes by {} mode, and the engine reads files: use File mode", name, mode);
      }
      const json::array* hosts = nullptr;
      const json::object resources = this->resources();
      hosts = json::find_array(resources, "hosts");
      if (hosts && hosts->size() > 1 && json::find_string(*described, "S3DistributionType") == "ShardedByS3Key") {
        throw Error(
            ErrorKind::kInvalid,
            "The channel \"{}\" is sharded over the instances (ShardedByS3Key), and the engine divides the text "
            "itself: use FullyReplicated",
            name);
      }
    }
  }
  const std::string folder = root_ + "/input/data/" + name;
  if (!files_.stat(folder)) return std::nullopt;
  return folder;
}

std::string Contract::checkpoints(const Environment& environment) const {
  const char* told = environment("ATHANOR_CHECKPOINTS");
  if (told && *told) return told;
  const std::string folder = root_ + "/checkpoints";
  return files_.stat(folder) ? folder : "";
}

void Contract::fail(std::string_view reason) const {
  try {
    files_.make_folders(root_ + "/output");
    // What is longer is cut by the platform, at a character of its choice.
    files_.replace(root_ + "/output/failure", reason.substr(0, 4 * kFailureCharacters));
  } catch (const Error& error) {
    log::error("llm", "The reason of the failure could not be left for the platform. {}", error.what());
  }
}

Peers peers_of(const Environment& environment, const json::object& resources) {
  const auto number = [&](const char* name, std::uint64_t least, std::uint64_t most) -> std::optional<std::uint64_t> {
    const char* text = environment(name);
    if (!text || !*text) return std::nullopt;
    std::uint64_t value = 0;
    const char* end = text + std::strlen(text);
    const auto parsed = std::from_chars(text, end, value);
    if (parsed.ec != std::errc() || parsed.ptr != end || value < least || value > most) {
      throw Error(ErrorKind::kInvalid, "The environment variable {} is \"{}\"; it must be a number from {} to {}", name,
                  text, least, most);
    }
    return value;
  };
  Peers peers;
  if (const auto world_size = number("ATHANOR_WORLD_SIZE", 1, 1 << 20)) {
    peers.world_size = static_cast<int>(*world_size);
    const auto rank = number("ATHANOR_RANK", 0, *world_size - 1);
    if (!rank && peers.world_size > 1) {
      throw Error(ErrorKind::kInvalid, "ATHANOR_WORLD_SIZE is set, and ATHANOR_RANK is not");
    }
    peers.rank = static_cast<int>(rank.value_or(0));
    const char* rendezvous = environment("ATHANOR_RENDEZVOUS");
    peers.rendezvous = rendezvous ? rendezvous : "";
    if (peers.world_size > 1 && peers.rendezvous.empty()) {
      throw Error(ErrorKind::kInvalid,
                  "ATHANOR_WORLD_SIZE is {}, and ATHANOR_RENDEZVOUS (HOST:PORT of rank 0) is not set",
                  peers.world_size);
    }
    peers.generation = number("ATHANOR_GENERATION", 0, std::numeric_limits<std::int64_t>::max()).value_or(0);
    return peers;
  }
  const json::array* hosts = json::find_array(resources, "hosts");
  if (!hosts || hosts->size() < 2) return peers;
  const std::string current = json::get_string(resources, "current_host");
  peers.world_size = static_cast<int>(hosts->size());
  peers.rank = -1;
  for (std::size_t i = 0; i < hosts->size(); ++i) {
    if ((*hosts)[i].is_string() && (*hosts)[i].get_string() == current) peers.rank = static_cast<int>(i);
  }
  if (peers.rank < 0 || !(*hosts)[0].is_string()) {
    throw Error(ErrorKind::kInvalid, "resourceconfig.json: current_host \"{}\" is none of its hosts", current);
  }
  peers.rendezvous = fmt::format("{}:{}", std::string((*hosts)[0].get_string()), kRendezvousPort);
  return peers;
}

AgentSocket::AgentSocket(const std::string& path) {
  if (path.empty()) return;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) {
    log::warning("llm", "The agent's socket {} has too long a path; nobody sees our progress", path);
    return;
  }
  path.copy(address.sun_path, path.size());
  fd_ = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const timeval patience{1, 0};
  if (fd_ < 0 || ::setsockopt(fd_, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience) != 0 ||
      ::connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    log::warning("llm", "Nobody sees our progress. {}",
                 system_error(errno, "connecting to the agent at " + path).what());
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
  }
}

AgentSocket::~AgentSocket() {
  if (fd_ >= 0) ::close(fd_);
}

void AgentSocket::send(const json::object& message) {
  if (fd_ < 0) return;
  const std::string line = json::serialize(message) + "\n";
  for (std::size_t sent = 0; sent < line.size();) {
    const ssize_t wrote = ::send(fd_, line.data() + sent, line.size() - sent, MSG_NOSIGNAL);
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0) {
      log::warning("llm", "From here on nobody sees our progress. {}",
                   system_error(errno, "writing to the agent's socket").what());
      ::close(fd_);
      fd_ = -1;
      return;
    }
    sent += static_cast<std::size_t>(wrote);
  }
}

void AgentSocket::beat(std::int64_t step, std::int64_t steps, double loss, double tokens_per_s, double seconds_left) {
  json::object beat{{"step", step},
                    {"steps", steps},
                    {"tokens_per_s", std::round(tokens_per_s)},
                    {"seconds_left", std::round(seconds_left)}};
  if (std::isfinite(loss)) beat["loss"] = loss;  // JSON has no other numbers
  send({{"beat", std::move(beat)}});
}

void AgentSocket::checkpoint(const std::string& name, std::int64_t step) {
  send({{"checkpoint", {{"path", name}, {"step", step}}}});
}

}  // namespace athanor::llm
