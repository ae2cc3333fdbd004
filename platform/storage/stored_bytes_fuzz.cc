// What the embedded store finds on disk, damaged in any way: log records, and the columns of an object's row. What is
// taken for whole must say the same when it is written anew.
#include <cstdlib>

#include "common/error.h"
#include "platform/storage/log_records.h"
#include "platform/storage/object_rows.h"

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  using namespace athanor::storage;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  if (const auto record = read_log_record(bytes)) {
    std::string again;
    append_log_record(*record, again);
    if (again != bytes.substr(0, record->bytes())) std::abort();
  }
  try {
    if (const auto headers = decode_headers(bytes); encode_headers(headers) != bytes) std::abort();
  } catch (const athanor::Error&) {
  }
  try {
    const auto parts = decode_parts(bytes);
    if (decode_parts(encode_parts(parts)).size() != parts.size()) std::abort();
  } catch (const athanor::Error&) {
  }
  return 0;
}
