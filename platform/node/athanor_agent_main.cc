// athanor-agent: what runs beside a job. Started by platform/compute, not by people.
#include <signal.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "common/descriptor_limit.h"
#include "common/error.h"
#include "common/files.h"
#include "common/log.h"
#include "platform/node/agent.h"
#include "platform/node/network.h"

namespace {

using namespace athanor;

constexpr int kNetworkMax_ms = 30'000;

struct RunOptions {
  std::string instance;
  std::string token_file;
  std::string server;
  std::string server_file;
  std::string ca_file;
  std::string state;
  std::string network;
  std::vector<std::uint32_t> cpus;
};

node::ServerPlace place_of(const std::string& url, const std::string& file) {
  return file.empty() ? node::ServerPlace(url) : node::ServerPlace(url, file);
}

// The job's network is made while its agents start.
node::NetworkView wait_for_network(const std::string& folder) {
  SystemFiles files;
  const std::string path = folder + "/ready.json";
  for (int waited_ms = 0; !files.stat(path); ++waited_ms) {
    if (waited_ms >= kNetworkMax_ms) {
      throw Error(ErrorKind::kUnavailable, "waiting for the job's network: {} did not appear within {} s", path,
                  kNetworkMax_ms / 1000);
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return node::open_network(path);
}

void run(const RunOptions& options) {
  SystemFiles files;
  node::AgentOptions agent{.server = place_of(options.server, options.server_file)};
  agent.instance = options.instance;
  agent.token = files.read_all(options.token_file);
  while (agent.token.ends_with('\n')) agent.token.pop_back();
  if (!options.ca_file.empty()) agent.ca = files.read_all(options.ca_file);
  agent.cpus = options.cpus;
  std::uint32_t uid = 0;
  if (!options.network.empty()) {
    agent.network = wait_for_network(options.network);
    uid = agent.network->uid;
  }
  agent.home = node::move_in(options.state, uid);
  ::signal(SIGPIPE, SIG_IGN);
  node::Agent(std::move(agent)).run();
}

}  // namespace

int main(int count, char** values) {
  CLI::App app("The agent of one instance of a training job, or the holder of a job's network. Started by athanor.");
  app.require_subcommand(1);

  RunOptions run_options;
  CLI::App* run_command = app.add_subcommand("run", "Serve one instance until the server releases it");
  run_command->add_option("--instance", run_options.instance, "The instance's id")->required();
  run_command->add_option("--token-file", run_options.token_file, "A file with the instance's secret")->required();
  run_command->add_option("--server", run_options.server, "Where the server is: http://127.0.0.1:9100")->required();
  run_command->add_option("--server-file", run_options.server_file,
                          "A file that says where it is now, for as long as that may change");
  run_command->add_option("--ca", run_options.ca_file, "The certificate authority (PEM) of an https server");
  run_command->add_option("--state", run_options.state, "The instance's folder")->required();
  run_command->add_option("--network", run_options.network, "The folder of the job's network");
  run_command->add_option("--cpus", run_options.cpus, "The instance's processors: 0,1")->delimiter(',');

  std::string network_state;
  int network_instances = 1;
  std::string network_server;
  std::string network_server_file;
  CLI::App* network_command = app.add_subcommand("network", "Hold a job's network on this machine until SIGTERM");
  network_command->add_option("--state", network_state, "A folder, for ready.json")->required();
  network_command->add_option("--instances", network_instances, "How many instances it joins")->required();
  network_command->add_option("--server", network_server, "Where the endpoint inside leads: http://127.0.0.1:9100")
      ->required();
  network_command->add_option("--server-file", network_server_file, "As of run");
  CLI11_PARSE(app, count, values);

  athanor::log::open("athanor-agent", athanor::log::Level::kInfo, "");
  try {
    if (run_command->parsed()) {
      run(run_options);
    } else {
      athanor::raise_descriptor_limit();  // two for each connection of the job's
      node::run_network_holder({network_state, network_instances, place_of(network_server, network_server_file)});
    }
    return 0;
  } catch (const std::exception& error) {
    athanor::log::error("node", "{}", error.what());
    return 1;
  }
}
