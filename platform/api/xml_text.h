// Text as XML's elements hold it.
#pragma once

#include <string>
#include <string_view>

namespace athanor::api {

// Control characters become references: XML 1.0 has no place for most of them, but that is what S3 sends.
std::string escape_xml(std::string_view text);

}  // namespace athanor::api
