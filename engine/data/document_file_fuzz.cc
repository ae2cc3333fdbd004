// A document file of any bytes: refused, or documents that can be read from end to end.
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "common/error.h"
#include "common/files.h"
#include "common/temporary_folder.h"
#include "engine/data/document_file.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace athanor;
  static const TemporaryFolder folder;
  static SystemFiles files;
  const std::string path = folder / "documents";
  files.open(path, Files::Open::kTruncate, 0644)->append({reinterpret_cast<const char*>(data), size});
  try {
    const data::DocumentFile file(path);
    std::int64_t ids = 0;
    for (std::int64_t i = 0; i < file.count(); ++i) {
      ATHANOR_ASSERT(file.begin(i) == ids && file.end(i) > ids);
      std::vector<std::int32_t> document(static_cast<std::size_t>(file.end(i) - ids)), targets(document.size());
      ids = file.end(i);
      file.read(file.begin(i), document);
      file.read_targets(file.begin(i), targets);
      bool learns = false;
      for (std::size_t at = 0; at < targets.size(); ++at) {
        ATHANOR_ASSERT(document[at] >= 0 && document[at] < file.header().vocabulary);
        ATHANOR_ASSERT(targets[at] == -1 || targets[at] == document[at]);
        learns = learns || targets[at] != -1;
      }
      ATHANOR_ASSERT(learns == file.learns(file.begin(i), file.end(i)));
    }
    ATHANOR_ASSERT(ids == file.header().ids);
  } catch (const Error& error) {
    ATHANOR_ASSERT(error.kind() == ErrorKind::kCorrupt);
  }
  return 0;
}
