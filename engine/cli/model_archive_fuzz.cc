// An archive of any bytes: whatever is unpacked lies below the folder, and is no larger than was allowed.
#include <cstdlib>
#include <filesystem>
#include <string_view>

#include "common/error.h"
#include "common/temporary_folder.h"
#include "engine/cli/model_archive.h"

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  using namespace athanor;
  constexpr std::uint64_t kRoomBytes = 1 << 20;
  const TemporaryFolder folder;
  SystemFiles files;
  const std::string archive = folder.put("model.tar", {reinterpret_cast<const char*>(data), size});
  files.make_folders(folder / "into/inner", 0755);
  try {
    llm::unpack_model(files, archive, folder / "into/inner", kRoomBytes);
  } catch (const Error&) {
  }
  std::uint64_t bytes = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder / "into/inner")) {
    if (entry.is_symlink()) std::abort();
    if (entry.is_regular_file()) bytes += entry.file_size();
  }
  if (bytes > kRoomBytes || files.list(folder / "into").size() != 1 || files.list(folder.path()).size() != 2) {
    std::abort();
  }
  return 0;
}
