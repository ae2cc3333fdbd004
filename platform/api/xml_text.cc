#include "platform/api/xml_text.h"

#include <fmt/format.h>

namespace athanor::api {

std::string escape_xml(std::string_view text) {
  std::string escaped;
  escaped.reserve(text.size());
  for (const char c : text) {
    switch (c) {
      case '&': escaped += "&amp;"; break;
      case '<': escaped += "&lt;"; break;
      case '>': escaped += "&gt;"; break;
      case '"': escaped += "&quot;"; break;
      default:
        // Clients of S3 ask for encoding-type=url.
        if (static_cast<unsigned char>(c) < 0x20) {
          escaped += fmt::format("&#x{:x};", static_cast<unsigned>(c));
        } else {
          escaped += c;
        }
    }
  }
  return escaped;
}

}  // namespace athanor::api
