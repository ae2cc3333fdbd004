#include "common/utf8.h"

#include <gtest/gtest.h>

#include <string>

namespace athanor {
namespace {

// Unicode 15, section 3.9, tables 3-7 to 3-11.
TEST(Utf8, StepsOverCharactersAndOverWhatIsNone) {
  struct Case {
    std::string_view text;
    std::size_t bytes;
    bool is_character;
  };
  using namespace std::string_view_literals;
  const Case kCases[] = {
      {"a"sv, 1, true},
      {"\0"sv, 1, true},
      {"\x7F"sv, 1, true},
      {"\xC2\x80"sv, 2, true},
      {"\xDF\xBF"sv, 2, true},
      {"\xE0\xA0\x80"sv, 3, true},
      {"\xED\x9F\xBF"sv, 3, true},
      {"\xEE\x80\x80"sv, 3, true},
      {"\xEF\xBF\xBF"sv, 3, true},
      {"\xF0\x90\x80\x80"sv, 4, true},
      {"\xF4\x8F\xBF\xBF"sv, 4, true},
      {"\x80"sv, 1, false},
      {"\xBFx"sv, 1, false},
      {"\xC0\x80"sv, 1, false},          // overlong
      {"\xC1\xBF"sv, 1, false},          // overlong
      {"\xE0\x9F\xBF"sv, 1, false},      // overlong
      {"\xED\xA0\x80"sv, 1, false},      // a surrogate
      {"\xF0\x8F\xBF\xBF"sv, 1, false},  // overlong
      {"\xF4\x90\x80\x80"sv, 1, false},  // above U+10FFFF
      {"\xF5\x80\x80\x80"sv, 1, false},
      {"\xFF"sv, 1, false},
      {"\xC2"sv, 1, false},
      {"\xC2x"sv, 1, false},
      {"\xE2\x98"sv, 2, false},
      {"\xE2\x98x"sv, 2, false},
      {"\xF0\x90\x80"sv, 3, false},
      {"\xF0\x90\x80\xC2\x80"sv, 3, false},
  };
  for (const Case& test : kCases) {
    const Utf8Step step = utf8_step(test.text);
    EXPECT_EQ(step.bytes, test.bytes) << testing::PrintToString(test.text);
    EXPECT_EQ(step.is_character, test.is_character) << testing::PrintToString(test.text);
    EXPECT_EQ(is_utf8("x" + std::string(test.text)), test.is_character) << testing::PrintToString(test.text);
  }
  EXPECT_TRUE(is_utf8(""));
}

}  // namespace
}  // namespace athanor
