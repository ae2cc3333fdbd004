#include "engine/model/tokenizer/added_tokens.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/error.h"
#include "engine/model/tokenizer/normalizer.h"

namespace athanor::model {
namespace {

using testing::ElementsAre;

// The parts, those that are an entry in brackets.
std::vector<std::string> parts(std::vector<AddedTokenMatcher::Entry> entries, std::string_view text) {
  std::vector<std::string> found;
  std::string whole;
  AddedTokenMatcher(std::move(entries)).for_each_part(text, [&](std::string_view part, int entry) {
    whole += part;
    found.push_back(entry < 0 ? std::string(part) : "[" + std::string(part) + "]");
  });
  EXPECT_EQ(whole, text);
  return found;
}

TEST(AddedTokenMatcher, TakesTheLeftmostAndOfThoseTheLongest) {
  EXPECT_THAT(parts({{"<s>"}, {"<s><s>"}, {"x"}}, "a<s><s><s>bx"), ElementsAre("a", "[<s><s>]", "[<s>]", "b", "[x]"));
  EXPECT_THAT(parts({{""}, {"ab"}, {"bcd"}}, "abcd"), ElementsAre("[ab]", "cd"));
  EXPECT_THAT(parts({{"é"}}, "è"), ElementsAre("è")) << "the same first byte";
  EXPECT_THAT(parts({{"ab"}}, ""), ElementsAre());
}

TEST(AddedTokenMatcher, StripsTakeWhiteSpaceAlong) {
  EXPECT_THAT(parts({{.content = "<m>", .lstrip = true}}, "a \u3000\n<m> b"), ElementsAre("a", "[ \u3000\n<m>]", " b"));
  EXPECT_THAT(parts({{.content = "<m>", .rstrip = true}}, "a <m> \tb"), ElementsAre("a ", "[<m> \t]", "b"));
  EXPECT_THAT(parts({{.content = "<m>", .lstrip = true, .rstrip = true}}, "<m> <m>"), ElementsAre("[<m> ]", "[<m>]"));
  EXPECT_THAT(parts({{.content = "<m>", .lstrip = true}}, "\xff\x80 <m>"), ElementsAre("\xff\x80", "[ <m>]"))
      << "broken bytes are no space";
}

TEST(AddedTokenMatcher, ASingleWordIsNotInsideAnother) {
  EXPECT_THAT(parts({{.content = "cat", .single_word = true}}, "cat scatter cat_ (cat)"),
              ElementsAre("[cat]", " scatter cat_ (", "[cat]", ")"));
  EXPECT_THAT(parts({{.content = "cat", .single_word = true}}, "écat cat٣"), ElementsAre("écat cat٣"));
}

TEST(AddedTokenMatcher, SpecialsAreLeftToTheTextWhereTheyAreNotWanted) {
  const AddedTokenMatcher matcher({{.content = "<s>", .lstrip = true, .special = true}, {.content = "<t>"}});
  std::vector<std::string> found;
  matcher.for_each_part(
      "a <s>b<t>",
      [&](std::string_view part, int entry) { found.push_back(std::string(part) + (entry < 0 ? "" : "!")); }, false);
  EXPECT_THAT(found, ElementsAre("a <s>b", "<t>!"));
}

TEST(Normalizer, ComposesWhatIsDecomposed) {
  const Normalizer nfc({{.kind = NormalizerStep::Kind::kNfc}});
  std::string scratch;
  EXPECT_EQ(nfc.apply("e\u0301 plain", scratch), "é plain");
  EXPECT_EQ(nfc.apply("a\u0323\u0302\u1100\u1161\u11a8", scratch), "ậ각") << "marks in order, Hangul";
  EXPECT_EQ(nfc.apply("\u212b\ufb01", scratch), "Åﬁ") << "canonical, not compatible";
  EXPECT_EQ(Normalizer({{.kind = NormalizerStep::Kind::kNfkc}}).apply("ﬁ", scratch), "fi");
  EXPECT_EQ(nfc.apply("e\u0301\xff\xc3"
                      "e\u0301",
                      scratch),
            "é\xff\xc3é")
      << "broken bytes stay";
  const std::string composed = "déjà vu";
  EXPECT_EQ(nfc.apply(composed, scratch).data(), composed.data()) << "nothing to do, nothing copied";
  std::string lengthy, expected;
  for (int i = 0; i < 300'000; ++i) lengthy += "xe\u0301", expected += "xé";
  EXPECT_EQ(nfc.apply(lengthy, scratch), expected);
}

TEST(Normalizer, PrependsAndReplaces) {
  const Normalizer llama({{.kind = NormalizerStep::Kind::kPrepend, .text = "▁"},
                          {.kind = NormalizerStep::Kind::kReplace, .text = "▁", .from = " "}});
  std::string scratch;
  EXPECT_EQ(llama.apply("a b", scratch), "▁a▁b");
  EXPECT_EQ(llama.apply(" b", scratch, true), "▁b") << "goes on from a text before it";
  EXPECT_EQ(llama.apply("", scratch), "");
  EXPECT_THROW(Normalizer({{.kind = NormalizerStep::Kind::kReplace, .text = "x"}}), Error);
}

}  // namespace
}  // namespace athanor::model
