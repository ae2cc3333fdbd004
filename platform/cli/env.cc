// athanor env.
#include "platform/cli/client_environment.h"
#include "platform/cli/commands.h"
#include "platform/cli/exit_code.h"
#include "platform/cli/terminal.h"

namespace athanor::cli {
namespace {

// For any POSIX shell.
std::string quoted(const std::string& text) {
  std::string result = "'";
  for (const char c : text) result += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return result + "'";
}

}  // namespace

int env(const EnvOptions& options) {
  const Terminal out(stdout);
  const std::map<std::string, std::string> variables =
      client_environment(find_place(options.common.data_dir), options.secure);
  if (options.common.json) {
    json::object object;
    for (const auto& [name, value] : variables) object[name] = value;
    out.line(json::serialize(object));
    return kSuccess;
  }
  for (const auto& [name, value] : variables) out.line("export " + name + "=" + quoted(value));
  return kSuccess;
}

}  // namespace athanor::cli
