#include "platform/storage/tame_xml.h"

#include <cstddef>

namespace athanor::storage {

namespace {

// Past the next `mark`, or npos.
std::size_t past(std::string_view xml, std::string_view mark, std::size_t from) {
  const std::size_t at = xml.find(mark, from);
  return at == std::string_view::npos ? at : at + mark.size();
}

// Past the '>' of the tag that begins at `at`, whose attributes may hold any character between their quotes; or npos.
std::size_t past_tag(std::string_view xml, std::size_t at) {
  for (;;) {
    at = xml.find_first_of("\"'>", at);
    if (at == std::string_view::npos) return at;
    if (xml[at] == '>') return at + 1;
    at = past(xml, xml.substr(at, 1), at + 1);
    if (at == std::string_view::npos) return at;
  }
}

}  // namespace

bool is_tame_xml(std::string_view xml) {
  int depth = 0;
  for (std::size_t at = xml.find('<'); at != std::string_view::npos; at = xml.find('<', at)) {
    const std::string_view rest = xml.substr(at);
    if (rest.starts_with("<!--")) {
      at = past(xml, "-->", at + 4);
    } else if (rest.starts_with("<![CDATA[")) {
      at = past(xml, "]]>", at + 9);
    } else if (rest.starts_with("<!")) {
      return false;
    } else if (rest.starts_with("<?")) {
      at = past(xml, "?>", at + 2);
    } else if (rest.starts_with("</")) {
      at = past(xml, ">", at);
      if (--depth < 0) return false;
    } else {
      at = past_tag(xml, at);
      if (at == std::string_view::npos) return false;
      if (xml[at - 2] != '/' && ++depth > kXmlDepthMax) return false;
    }
    if (at == std::string_view::npos) return false;
  }
  return true;
}

}  // namespace athanor::storage
