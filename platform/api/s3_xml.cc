#include "platform/api/s3_xml.h"

#include <charconv>
#include <cstring>
#include <pugixml.hpp>
#include <set>

#include "common/error.h"
#include "common/hash.h"
#include "platform/api/s3_error.h"
#include "platform/api/s3_request.h"
#include "platform/api/xml_text.h"
#include "platform/storage/tame_xml.h"
#include "platform/wire/http.h"

namespace athanor::api {

namespace {

constexpr std::size_t kDeleteKeysMax = 1000;
constexpr std::size_t kTagsMax = 10;

pugi::xml_node parse(pugi::xml_document& document, std::string_view xml, const char* root) {
  if (!storage::is_tame_xml(xml)) throw malformed_xml();
  const auto result = document.load_buffer(xml.data(), xml.size(), pugi::parse_default, pugi::encoding_utf8);
  if (!result) throw malformed_xml();
  const pugi::xml_node node = document.document_element();
  if (std::strcmp(node.name(), root) != 0) throw malformed_xml();
  for (pugi::xml_node next = document.first_child(); next; next = next.next_sibling()) {
    if (next.type() == pugi::node_element && next != node) throw malformed_xml();
  }
  return node;
}

std::string required(const pugi::xml_node& parent, const char* name) {
  const pugi::xml_node node = parent.child(name);
  if (!node) throw malformed_xml();
  return node.child_value();
}

}  // namespace

XmlWriter::XmlWriter(std::string_view root) : text_("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<") {
  text_.append(root).append(" xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">");
  open_.emplace_back(root);
}

XmlWriter& XmlWriter::append(const XmlWriter& fragment) {
  ATHANOR_ASSERT(fragment.open_.empty());
  text_ += fragment.text_;
  return *this;
}

XmlWriter& XmlWriter::open(std::string_view name) {
  text_.append("<").append(name).append(">");
  open_.emplace_back(name);
  return *this;
}

XmlWriter& XmlWriter::close() {
  ATHANOR_ASSERT(!open_.empty());
  text_.append("</").append(open_.back()).append(">");
  open_.pop_back();
  return *this;
}

XmlWriter& XmlWriter::element(std::string_view name, std::string_view text) {
  text_.append("<").append(name).append(">").append(escape_xml(text)).append("</").append(name).append(">");
  return *this;
}

XmlWriter& XmlWriter::element(std::string_view name, std::uint64_t number) {
  return element(name, std::to_string(number));
}

std::string XmlWriter::finish() {
  while (!open_.empty()) close();
  return std::move(text_);
}

DeleteBody read_delete(std::string_view xml) {
  pugi::xml_document document;
  const pugi::xml_node root = parse(document, xml, "Delete");
  DeleteBody body;
  body.quiet = std::strcmp(root.child_value("Quiet"), "true") == 0;
  for (const pugi::xml_node object : root.children("Object")) {
    if (body.keys.size() == kDeleteKeysMax) throw malformed_xml();
    DeleteKey key{required(object, "Key"), without_quotes(object.child_value("ETag"))};
    if (key.key.empty()) throw malformed_xml();
    body.keys.push_back(std::move(key));
  }
  if (body.keys.empty()) throw malformed_xml();
  return body;
}

std::vector<storage::CompletedPart> read_complete_upload(std::string_view xml) {
  pugi::xml_document document;
  const pugi::xml_node root = parse(document, xml, "CompleteMultipartUpload");
  std::vector<storage::CompletedPart> parts;
  for (const pugi::xml_node node : root.children("Part")) {
    if (parts.size() == storage::kPartNumberMax) throw malformed_xml();
    storage::CompletedPart part;
    const std::string number = required(node, "PartNumber");
    const auto [end, failure] = std::from_chars(number.data(), number.data() + number.size(), part.number);
    if (failure != std::errc() || end != number.data() + number.size()) throw malformed_xml();
    part.etag = without_quotes(required(node, "ETag"));
    for (const storage::ChecksumAlgorithm algorithm : storage::kChecksumAlgorithms) {
      const std::string value = node.child_value(storage::checksum_element(algorithm));
      if (value.empty()) continue;
      try {
        part.checksum = from_base64(value);
      } catch (const Error&) {
        throw malformed_xml();
      }
    }
    parts.push_back(std::move(part));
  }
  if (parts.empty()) throw malformed_xml();
  return parts;
}

std::string read_create_bucket(std::string_view xml) {
  if (xml.empty()) return {};
  pugi::xml_document document;
  return parse(document, xml, "CreateBucketConfiguration").child_value("LocationConstraint");
}

std::string read_tagging(std::string_view xml) {
  pugi::xml_document document;
  const pugi::xml_node root = parse(document, xml, "Tagging");
  const pugi::xml_node set = root.child("TagSet");
  if (!set) throw malformed_xml();
  std::string tags;
  std::set<std::string> keys;
  for (const pugi::xml_node tag : set.children("Tag")) {
    const std::string key = required(tag, "Key");
    const std::string value = required(tag, "Value");
    if (keys.size() == kTagsMax) throw S3Error(400, "BadRequest", "Object tags cannot be greater than 10");
    if (key.empty() || key.size() > 4 * 128) {
      throw S3Error(400, "InvalidTag", "The TagKey you have provided is invalid");
    }
    if (value.size() > 4 * 256) throw S3Error(400, "InvalidTag", "The TagValue you have provided is invalid");
    if (!keys.insert(key).second) throw S3Error(400, "InvalidTag", "Cannot provide multiple Tags with the same key");
    if (!tags.empty()) tags += "&";
    tags += wire::percent_encode(key, false) + "=" + wire::percent_encode(value, false);
  }
  return tags;
}

}  // namespace athanor::api
