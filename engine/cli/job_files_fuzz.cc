// What a job finds in /opt/ml/input/config: hyperparameters.json and resourceconfig.json, either from any bytes.
#include <cstdlib>
#include <string_view>

#include "common/error.h"
#include "engine/cli/contract.h"
#include "engine/cli/settings.h"

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  using namespace athanor;
  json::value parsed;
  try {
    parsed = json::parse({reinterpret_cast<const char*>(data), size}, "input");
  } catch (const Error&) {
    return 0;
  }
  if (!parsed.is_object()) return 0;
  try {
    llm::TrainSettings settings;
    llm::apply_hyperparameters(llm::table_of(settings), parsed.get_object());
    llm::check(settings);
    const model::Config config = llm::model_config(settings, settings.vocabulary);
    model::check(config);
  } catch (const Error&) {
  }
  try {
    const llm::Peers peers = llm::peers_of([](const char*) -> const char* { return nullptr; }, parsed.get_object());
    if (peers.rank < 0 || peers.rank >= peers.world_size) std::abort();
  } catch (const Error&) {
  }
  return 0;
}
