#include "platform/node/network.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <cerrno>
#include <cstring>
#include <optional>

#include "common/descriptor_passing.h"
#include "common/error.h"
#include "common/files.h"
#include "common/json.h"
#include "platform/node/forwarder.h"
#include "platform/node/job_user.h"
#include "platform/node/namespaces.h"
#include "platform/node/netlink.h"

namespace athanor::node {

namespace {

constexpr int kLoopback = 1;
constexpr int kEth0 = 2;
constexpr int kBridge = 2;
constexpr int kFirstPort = 10;
constexpr std::uint32_t kSubnet = 10u << 24 | 38u << 16;  // 10.38.0.0/16
constexpr std::uint32_t kEndpoint = 169u << 24 | 254u << 16 | 170u << 8 | 2u;
constexpr std::int64_t kBuildMax_ms = 20'000;

std::uint32_t address_of(int instance) { return kSubnet + static_cast<std::uint32_t>(instance) + 1; }

std::string spelled(std::uint32_t address) {
  return fmt::format("{}.{}.{}.{}", address >> 24, address >> 16 & 255, address >> 8 & 255, address & 255);
}

Descriptor listen_at(std::uint32_t host, std::uint16_t port) {
  Descriptor listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!listener) throw system_error(errno, "making the forwarder's socket");
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(host);
  address.sin_port = htons(port);
  if (::bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      ::listen(listener.get(), 1024) != 0) {
    throw system_error(errno, "listening for the job inside its network");
  }
  return listener;
}

// The child's part: makes everything and sends the descriptors through `socket`, "U" with the user namespace and the hub,
// then "N" with namespace and listener of each instance.
void build(int instances, std::uint16_t port, int socket) {
  enter_own_user_namespace();
  enter_new(CLONE_NEWNET, "network");
  const Descriptor user_namespace = open_namespace("user");
  const Descriptor hub = open_namespace("net");
  const int ours[] = {user_namespace.get(), hub.get()};
  if (!send_with_descriptors(socket, "U", ours)) throw system_error(errno, "handing over the network");
  Netlink at_hub;
  if (instances > 1) {
    at_hub.make_bridge("br0", kBridge);
    at_hub.set_up(kBridge);
  }
  for (int i = 0; i < instances; ++i) {
    enter_new(CLONE_NEWNET, "network");
    const Descriptor space = open_namespace("net");
    Netlink here;
    here.set_up(kLoopback);
    here.add_address(kLoopback, kEndpoint, 32);
    here.make_pair("eth0", kEth0, fmt::format("port{}", i), kFirstPort + i, hub.get());
    here.add_address(kEth0, address_of(i), 16);
    here.set_up(kEth0);
    at_hub.set_up(kFirstPort + i, instances > 1 ? kBridge : 0);
    const Descriptor listener = listen_at(kEndpoint, port);
    const int descriptors[] = {space.get(), listener.get()};
    if (!send_with_descriptors(socket, "N", descriptors)) throw system_error(errno, "handing over the network");
  }
}

}  // namespace

JobNetwork build_network(int instances, std::uint16_t port, const JobUser* user) {
  if (instances < 1 || instances > kNetworkInstancesMax) {
    throw Error(ErrorKind::kInvalid, "making the job's network: it has 1 to {} instances, not {}", kNetworkInstancesMax,
                instances);
  }
  SocketPair sockets = make_socket_pair(SOCK_SEQPACKET);
  const int theirs = sockets.theirs.get();
  const pid_t child = fork_child(
      [&] {
        if (user != nullptr) user->become();
        build(instances, port, theirs);
      },
      [&](const std::string& why) { send_with_descriptors(theirs, "E" + why, {}); });
  sockets.theirs.reset();

  JobNetwork network;
  std::optional<std::string> failure;
  while (network.instances.size() < static_cast<std::size_t>(instances)) {
    Received received = receive_with_descriptors(sockets.ours.get(), 4096, kBuildMax_ms);
    if (received.bytes == "U" && received.descriptors.size() == 2) {
      network.user_namespace = std::move(received.descriptors[0]);
      network.hub = std::move(received.descriptors[1]);
    } else if (received.bytes == "N" && received.descriptors.size() == 2) {
      const int index = static_cast<int>(network.instances.size());
      network.instances.push_back(
          {std::move(received.descriptors[0]), std::move(received.descriptors[1]), spelled(address_of(index))});
    } else {
      failure = received.bytes.empty() ? "its process ended" : received.bytes.substr(1);
      break;
    }
  }
  while (::waitpid(child, nullptr, 0) < 0 && errno == EINTR) {
  }
  if (failure) throw Error(ErrorKind::kUnavailable, "making the job's network: {}", *failure);
  return network;
}

void run_network_holder(const NetworkHolderOptions& options) {
  // Blocked before the child exists: a SIGTERM that comes early waits for us.
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  ::sigprocmask(SIG_BLOCK, &signals, nullptr);
  const Descriptor stop(::signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!stop) throw system_error(errno, "waiting for signals");

  const std::uint16_t port = options.server.now().port;
  std::optional<JobUser> user;
  if (JobUser::needed()) user = JobUser::claim();
  JobNetwork network = build_network(options.instances, port, user ? &*user : nullptr);

  json::object ready;
  ready["pid"] = ::getpid();
  ready["uid"] = user ? user->uid() : 0;
  ready["endpoint"] = fmt::format("http://{}:{}", kEndpointAddress, port);
  json::array& instances = ready["instances"].emplace_array();
  std::vector<Descriptor> listeners;
  for (InstanceNetwork& instance : network.instances) {
    json::object entry;
    entry["netns"] = fmt::format("/proc/{}/fd/{}", ::getpid(), instance.network_namespace.get());
    entry["userns"] = fmt::format("/proc/{}/fd/{}", ::getpid(), network.user_namespace.get());
    entry["address"] = instance.address;
    instances.push_back(std::move(entry));
    listeners.push_back(std::move(instance.listener));
  }
  Forwarder forwarder(std::move(listeners), options.server);
  SystemFiles files;
  // Not synced: it means nothing once this process is gone.
  const std::string path = options.state + "/ready.json";
  files.open(path + ".tmp", Files::Open::kTruncate, 0644)->append(json::serialize(ready));
  files.rename(path + ".tmp", path);
  if (user) user->become();
  forwarder.run(stop.get());
}

NetworkView open_network(const std::string& ready_file) {
  SystemFiles files;
  const json::value parsed = json::parse(files.read_all(ready_file), ready_file);
  if (!parsed.is_object()) throw Error(ErrorKind::kCorrupt, "reading {}: not an object", ready_file);
  const json::object& ready = parsed.get_object();
  const auto open = [](const std::string& path) {
    Descriptor descriptor(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!descriptor) {
      throw Error(ErrorKind::kUnavailable, "joining the job's network: opening {}: {} (has its holder ended?)", path,
                  std::strerror(errno));
    }
    return descriptor;
  };
  NetworkView network;
  network.endpoint = json::get_string(ready, "endpoint");
  network.uid = static_cast<std::uint32_t>(json::get_int(ready, "uid"));
  const json::array* instances = json::find_array(ready, "instances");
  for (const json::value& entry : instances == nullptr ? json::array() : *instances) {
    if (!entry.is_object()) throw Error(ErrorKind::kCorrupt, "reading {}: an instance is no object", ready_file);
    const json::object& instance = entry.get_object();
    network.addresses.push_back(json::get_string(instance, "address"));
    network.network_namespaces.push_back(open(json::get_string(instance, "netns")));
    if (!network.user_namespace) network.user_namespace = open(json::get_string(instance, "userns"));
  }
  return network;
}

}  // namespace athanor::node
