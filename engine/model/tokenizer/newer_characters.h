// Characters of Unicode 15 and 16, which the distribution's PCRE2 (Unicode 14) takes for unassigned, and the engines of other
// tokenizers for what they are: letters, digits, marks, signs. For matching by Unicode's classes alone, others of the same
// class stand in for them.
#pragma once

#include <string>
#include <string_view>

namespace athanor::model {

// `text`, which is valid UTF-8, as an expression of classes should see it: of the same length, every character in its place;
// either `text` itself or a view into `scratch`. An expression that names one of these characters itself does not find it.
std::string_view with_known_characters(std::string_view text, std::string& scratch);

}  // namespace athanor::model
