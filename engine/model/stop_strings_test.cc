#include "engine/model/stop_strings.h"

#include <gtest/gtest.h>

#include <random>

#include "common/error.h"

namespace athanor::model {
namespace {

// What is shown of a text that comes in these pieces, each piece's part in brackets.
std::string shown(StopStrings stops, const std::vector<std::string>& pieces) {
  std::string all;
  for (const std::string& piece : pieces) all += "[" + stops.add(piece) + "]";
  return all + stops.finish();
}

TEST(StopStrings, EndTheTextWhereTheyBegin) {
  EXPECT_EQ(shown(StopStrings({"\n\n"}), {"one", "\n", "two", "\n\n", "three"}), "[one][][\ntwo][][]");
  EXPECT_EQ(shown(StopStrings({"STOP"}), {"a", "ST", "O", "P b"}), "[a][][][]");
  EXPECT_EQ(shown(StopStrings({"STOP"}), {"a", "ST", "O", "X b"}), "[a][][][STOX b]");
  EXPECT_EQ(shown(StopStrings({"STOP"}), {"a STO"}), "[a ]STO");
  EXPECT_EQ(shown(StopStrings({"aab"}), {"aa", "ab"}), "[][a]");
  EXPECT_EQ(shown(StopStrings({}), {"a", "b"}), "[a][b]");
}

TEST(StopStrings, TheOneThatIsWholeFirstWins) {
  StopStrings stops({"abcd", "bc"});
  EXPECT_EQ(stops.add("xabcd"), "xa");
  EXPECT_EQ(stops.found(), "bc");
  StopStrings same({"bc", "abc"});
  EXPECT_EQ(same.add("xabc"), "x");
  EXPECT_EQ(same.found(), "abc");
}

TEST(StopStrings, CutsBetweenTokensChangeNothing) {
  std::mt19937 random(1);
  for (int round = 0; round < 2000; ++round) {
    const auto any = [&](std::size_t size) {
      std::string text;
      for (std::size_t i = 0; i < size; ++i) text += static_cast<char>('a' + random() % 2);
      return text;
    };
    const std::vector<std::string> stops{any(1 + random() % 4), any(2 + random() % 4)};
    const std::string text = any(12);
    StopStrings whole(stops), parts(stops);
    std::string at_once = whole.add(text), in_parts;
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t size = 1 + random() % 3;
      in_parts += parts.add(text.substr(at, size));
      EXPECT_EQ(text.substr(0, in_parts.size()), in_parts);
      at += size;
    }
    if (!whole.found()) at_once += whole.finish();
    if (!parts.found()) in_parts += parts.finish();
    ASSERT_EQ(at_once, in_parts) << text << " " << stops[0] << " " << stops[1];
    ASSERT_EQ(whole.found(), parts.found());
  }
}

TEST(StopStrings, AnEmptyOneIsRefused) { EXPECT_THROW(StopStrings({"a", ""}), Error); }

}  // namespace
}  // namespace athanor::model
