#include "engine/cli/own_place.h"

#include <filesystem>
#include <system_error>

#include "common/error.h"

namespace athanor::llm {

namespace {

// Without what a slash at the end would add.
std::filesystem::path canonical(const std::string& path) {
  std::error_code none;
  const std::filesystem::path found = std::filesystem::weakly_canonical(std::filesystem::absolute(path, none), none);
  return found.has_filename() ? found : found.parent_path();
}

}  // namespace

bool same_place(const std::string& a, const std::string& b) {
  std::error_code none;
  // The first for places that are mounted twice, the second for those that are not there.
  return std::filesystem::equivalent(a, b, none) || canonical(a) == canonical(b);
}

void check_own_place(const std::string& out, const std::string& whose, const std::string& path) {
  if (!same_place(out, path)) return;
  throw Error(ErrorKind::kConflict, "--out {} is {} own place, which is still needed: give another folder", out, whose);
}

void check_new_place(Files& files, const std::string& out) {
  for (const char* name : {"config.json", "adapter_config.json"}) {
    if (!files.stat(out + "/" + name)) continue;
    throw Error(ErrorKind::kConflict, "--out {} has a model already, {}: give another folder, or move it away", out,
                name);
  }
}

}  // namespace athanor::llm
