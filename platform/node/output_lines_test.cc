#include "platform/node/output_lines.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/random.h"

namespace athanor::node {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TEST(OutputLines, CutsAtNewlinesAndKeepsTheRest) {
  OutputLines lines;
  EXPECT_THAT(lines.feed("one\ntw"), ElementsAre("one"));
  EXPECT_THAT(lines.feed("o\n\nthree\r\n50%\r"), ElementsAre("two", "", "three\r"));
  EXPECT_THAT(lines.flush(), ElementsAre("50%\r"));
  EXPECT_THAT(lines.flush(), IsEmpty());
}

TEST(OutputLines, SplitsLongLinesBetweenCharacters) {
  OutputLines lines;
  // "é" is two bytes: an odd number of bytes before it puts the cut inside one.
  std::string text = "x";
  for (std::size_t i = 0; i < OutputLines::kLineBytesMax; ++i) text += "\xC3\xA9";
  const auto cut = lines.feed(text + "\n");
  ASSERT_EQ(cut.size(), 3u);
  std::string joined;
  for (const std::string& line : cut) {
    EXPECT_LE(line.size(), OutputLines::kLineBytesMax);
    joined += line;
  }
  EXPECT_EQ(joined, text);
}

TEST(OutputLines, WhatIsNotUtf8BecomesTheReplacementCharacter) {
  const std::string r = "\xEF\xBF\xBD";
  const std::pair<std::string, std::string> cases[] = {
      {"plain", "plain"},
      {"\xC3\xA9 \xE2\x82\xAC \xF0\x9F\x98\x80", "\xC3\xA9 \xE2\x82\xAC \xF0\x9F\x98\x80"},
      {"a\xFF"
       "b",
       "a" + r + "b"},
      {"\xC3", r},
      {"\xE2\x82", r},  // cut short: one for the whole
      {"\xE2\x82\x41", r + "A"},
      {"\xED\xA0\x80", r + r + r},          // a surrogate
      {"\xC0\xAF", r + r},                  // overlong
      {"\xF4\x90\x80\x80", r + r + r + r},  // beyond U+10FFFF
      {std::string("nul\0nul", 7), std::string("nul\0nul", 7)},
  };
  for (const auto& [given, expected] : cases) EXPECT_EQ(to_utf8(given), expected);
}

TEST(OutputLines, HowBytesArriveDoesNotMatter) {
  SeededRandom random(7);
  for (int round = 0; round < 200; ++round) {
    std::string text;
    for (std::uint64_t i = random.below(300); i > 0; --i) text.push_back("ab\n\r\xC3\xA9"[random.below(6)]);
    OutputLines whole;
    std::vector<std::string> expected = whole.feed(text);
    for (auto& line : whole.flush()) expected.push_back(line);
    OutputLines pieces;
    std::vector<std::string> got;
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t size = 1 + random.below(10);
      for (auto& line : pieces.feed(std::string_view(text).substr(at, size))) got.push_back(line);
      at += size;
    }
    for (auto& line : pieces.flush()) got.push_back(line);
    ASSERT_EQ(got, expected);
  }
}

}  // namespace
}  // namespace athanor::node
