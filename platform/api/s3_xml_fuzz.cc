// Any bytes as the XML body of each S3 request that has one: refused in S3's words, or read within S3's bounds.
#include <cstdlib>

#include "platform/api/s3_error.h"
#include "platform/api/s3_xml.h"

namespace {

template <typename Read>
void refused_or(const Read& read) {
  try {
    read();
  } catch (const athanor::api::S3Error& error) {
    if (error.status() < 400 || error.status() > 499) std::abort();  // the client's fault, never ours
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  using namespace athanor::api;
  const std::string_view xml(reinterpret_cast<const char*>(data), size);
  refused_or([&] {
    const std::size_t count = read_delete(xml).keys.size();
    if (count < 1 || count > 1000) std::abort();
  });
  refused_or([&] { read_complete_upload(xml); });
  refused_or([&] { read_create_bucket(xml); });
  refused_or([&] { read_tagging(xml); });
  // What we write is well-formed whatever the text: our own reader takes it.
  XmlWriter writer("Delete");
  writer.open("Object").element("Key", xml).close();
  refused_or([&] { read_delete(writer.finish()); });
  return 0;
}
