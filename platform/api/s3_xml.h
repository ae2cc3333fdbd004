// XML of S3: a writer for replies, and readers for the bodies of requests.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "platform/storage/checksum.h"
#include "platform/storage/object_store.h"

namespace athanor::api {

// Writes elements one after the other; whoever opens one closes it.
class XmlWriter {
 public:
  // The document's element, in S3's namespace.
  explicit XmlWriter(std::string_view root);
  // A row of elements without a document around it, to be appended to one.
  static XmlWriter fragment() { return XmlWriter(); }
  XmlWriter& append(const XmlWriter& fragment);
  XmlWriter& open(std::string_view name);
  XmlWriter& close();
  XmlWriter& element(std::string_view name, std::string_view text);
  XmlWriter& element(std::string_view name, std::uint64_t number);
  XmlWriter& flag(std::string_view name, bool value) { return element(name, value ? "true" : "false"); }
  // Closes what is open, and gives the document.
  std::string finish();

 private:
  XmlWriter() = default;

  std::string text_;
  std::vector<std::string> open_;
};

struct DeleteKey {
  std::string key;
  std::string etag;  // condition; empty: none
};
struct DeleteBody {
  std::vector<DeleteKey> keys;  // 1 to 1000
  bool quiet = false;
};

// All throw S3Error MalformedXML on anything but the document expected; entities beyond XML's own five, documents with
// a DTD and elements nested deeper than 16 are refused.
DeleteBody read_delete(std::string_view xml);
std::vector<storage::CompletedPart> read_complete_upload(std::string_view xml);
// The LocationConstraint, or nothing.
std::string read_create_bucket(std::string_view xml);
// "a=1&b=2". Throws InvalidTag on tags that are too many, too long or twice the same.
std::string read_tagging(std::string_view xml);

}  // namespace athanor::api
