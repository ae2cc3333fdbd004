// XML from strangers, before pugixml sees it. Pure.
#pragma once

#include <string_view>

namespace athanor::storage {

inline constexpr int kXmlDepthMax = 16;

// Whether elements nest no deeper than kXmlDepthMax and there is no DTD: pugixml builds its tree without recursion but
// destroys it with. Text that is not well-formed may be called tame; pugixml refuses it then, and what it made until
// there is no deeper.
bool is_tame_xml(std::string_view xml);

}  // namespace athanor::storage
