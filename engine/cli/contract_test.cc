#include "engine/cli/contract.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cmath>
#include <map>

#include "common/error.h"
#include "common/temporary_folder.h"
#include "engine/cli/test_support.h"

namespace athanor::llm {
namespace {

using testing::HasSubstr;

// Environment variables of a test.
Environment environment_of(const std::map<std::string, std::string>& variables) {
  return [&variables](const char* name) -> const char* {
    const auto found = variables.find(name);
    return found == variables.end() ? nullptr : found->second.c_str();
  };
}

TEST(Contract, FindsWhatAJobLaysOut) {
  const TemporaryFolder folder;
  SystemFiles files;
  const Contract contract(files, folder.path());
  EXPECT_FALSE(contract.present());
  folder.put("input/config/hyperparameters.json", R"({"steps": "3"})");
  folder.put("input/data/train/a.txt", "text");
  folder.put("input/config/inputdataconfig.json",
             R"({"train": {"TrainingInputMode": "File", "S3DistributionType": "FullyReplicated"}})");
  EXPECT_TRUE(contract.present());
  EXPECT_EQ(contract.hyperparameters().at("steps").as_string(), "3");
  EXPECT_EQ(contract.channel("train"), folder / "input/data/train");
  EXPECT_EQ(contract.channel("validation"), std::nullopt);
  EXPECT_EQ(contract.checkpoints(environment_of({})), "");
  std::filesystem::create_directories(folder / "checkpoints");
  EXPECT_EQ(contract.checkpoints(environment_of({})), folder / "checkpoints");
  const std::map<std::string, std::string> variables = {{"ATHANOR_CHECKPOINTS", "/data/mine"}};
  EXPECT_EQ(contract.checkpoints(environment_of(variables)), "/data/mine");
}

TEST(Contract, RefusesChannelsThatTheEngineCannotUse) {
  const TemporaryFolder folder;
  SystemFiles files;
  const Contract contract(files, folder.path());
  folder.put("input/data/train/a.txt", "text");
  folder.put("input/config/inputdataconfig.json",
             R"({"train": {"TrainingInputMode": "File", "S3DistributionType": "ShardedByS3Key"}})");
  folder.put("input/config/resourceconfig.json", R"({"current_host": "algo-1", "hosts": ["algo-1"]})");
  EXPECT_TRUE(contract.channel("train")) << "with one instance a shard is all";
  folder.put("input/config/resourceconfig.json", R"({"current_host": "algo-1", "hosts": ["algo-1", "algo-2"]})");
  try {
    contract.channel("train");
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("FullyReplicated"));
  }
  folder.put("input/config/inputdataconfig.json", R"({"train": {"TrainingInputMode": "Pipe"}})");
  EXPECT_THROW(contract.channel("train"), Error);
}

TEST(Contract, LeavesTheReasonOfAFailure) {
  const TemporaryFolder folder;
  SystemFiles files;
  Contract(files, folder.path()).fail("The text is missing");
  EXPECT_EQ(files.read_all(folder / "output/failure"), "The text is missing");
}

TEST(Peers, FollowTheExtensionWhereItIsSpoken) {
  const std::map<std::string, std::string> variables = {{"ATHANOR_WORLD_SIZE", "3"},
                                                        {"ATHANOR_RANK", "2"},
                                                        {"ATHANOR_RENDEZVOUS", "algo-1:7700"},
                                                        {"ATHANOR_GENERATION", "4"}};
  const Peers peers =
      peers_of(environment_of(variables), {{"current_host", "algo-1"}, {"hosts", {"algo-1", "algo-2"}}});
  EXPECT_EQ(peers.rank, 2);
  EXPECT_EQ(peers.world_size, 3);
  EXPECT_EQ(peers.rendezvous, "algo-1:7700");
  EXPECT_EQ(peers.generation, 4U);
}

TEST(Peers, FollowResourceconfigInAnyOtherContainer) {
  const json::object resources = {{"current_host", "algo-2"}, {"hosts", {"algo-1", "algo-2"}}};
  const Peers peers = peers_of(environment_of({}), resources);
  EXPECT_EQ(peers.rank, 1);
  EXPECT_EQ(peers.world_size, 2);
  EXPECT_EQ(peers.rendezvous, "algo-1:7700");
  EXPECT_EQ(peers_of(environment_of({}), {}).world_size, 1);
  EXPECT_EQ(peers_of(environment_of({}), {{"current_host", "algo-1"}, {"hosts", {"algo-1"}}}).world_size, 1);
  EXPECT_THROW(peers_of(environment_of({}), {{"current_host", "algo-3"}, {"hosts", {"algo-1", "algo-2"}}}), Error);
}

TEST(Peers, WrongVariablesAreRefusedByName) {
  for (const auto& [variables, name] : std::vector<std::pair<std::map<std::string, std::string>, const char*>>{
           {{{"ATHANOR_WORLD_SIZE", "two"}}, "ATHANOR_WORLD_SIZE"},
           {{{"ATHANOR_WORLD_SIZE", "0"}}, "ATHANOR_WORLD_SIZE"},
           {{{"ATHANOR_WORLD_SIZE", "2"}}, "ATHANOR_RANK"},
           {{{"ATHANOR_WORLD_SIZE", "2"}, {"ATHANOR_RANK", "2"}}, "ATHANOR_RANK"},
           {{{"ATHANOR_WORLD_SIZE", "2"}, {"ATHANOR_RANK", "1"}}, "ATHANOR_RENDEZVOUS"}}) {
    try {
      peers_of(environment_of(variables), {});
      ADD_FAILURE() << name;
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), HasSubstr(name));
    }
  }
}

TEST(AgentSocket, SendsALineForAMessageAndOutlivesTheAgent) {
  const TemporaryFolder folder;
  const std::string path = folder / "agent.sock";
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, path.size());
  const int listener = ::socket(AF_UNIX, SOCK_STREAM, 0);
  ASSERT_EQ(::bind(listener, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  ASSERT_EQ(::listen(listener, 1), 0);

  AgentSocket agent(path);
  agent.beat(12, 400, 3.5, 5300.4, 80);
  agent.beat(13, 400, NAN, 5300, 79);
  agent.checkpoint("step-00000012", 12);
  const int accepted = ::accept(listener, nullptr, nullptr);
  std::string text(4096, '\0');
  text.resize(static_cast<std::size_t>(::recv(accepted, text.data(), text.size(), 0)));
  const std::size_t end = text.find('\n');
  ASSERT_NE(end, text.npos);
  const json::value beat = json::parse(text.substr(0, end), "beat");
  EXPECT_EQ(beat.at("beat").at("step").as_int64(), 12);
  EXPECT_EQ(beat.at("beat").at("loss").as_double(), 3.5);
  EXPECT_EQ(beat.at("beat").at("tokens_per_s").as_double(), 5300);
  const std::size_t second = text.find('\n', end + 1);
  ASSERT_NE(second, text.npos);
  const json::value without = json::parse(text.substr(end + 1, second - end - 1), "beat of a step that is not finite");
  EXPECT_EQ(without.at("beat").at("step").as_int64(), 13);
  EXPECT_FALSE(without.at("beat").as_object().contains("loss"));
  EXPECT_EQ(text.substr(second + 1), "{\"checkpoint\":{\"path\":\"step-00000012\",\"step\":12}}\n");

  ::close(accepted);
  ::close(listener);
  agent.beat(13, 400, 3.5, 5300, 79);
  agent.beat(14, 400, 3.5, 5300, 78);
  AgentSocket nobody(path);
  nobody.beat(1, 2, 3, 4, 5);
}

}  // namespace
}  // namespace athanor::llm
