#include "engine/model/tokenizer/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/error.h"
#include "common/random.h"
#include "engine/model/tokenizer/bpe_trainer.h"
#include "engine/model/tokenizer/byte_alphabet.h"
#include "engine/model/tokenizer/tokenizer_json.h"
#include "engine/model/tokenizer/utf8.h"

namespace athanor::model {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::vector<std::string> pieces(const PreTokenizer& pretokenizer, std::string_view text) {
  std::vector<std::string> found;
  pretokenizer.split(text, [&](std::string_view piece) { found.emplace_back(piece); });
  return found;
}

// Words drawn from few stems, so that merges have something to find; seeded.
std::string some_text(std::size_t bytes, std::uint64_t seed) {
  static const char* const kWords[] = {"the",   "lord",   "said",     "unto",  "them", "l'été",
                                       "naïve", "日本語", "don't",    "12345", "!?",   "    ",
                                       "\n\n",  "x=y+1;", "🙂🙃", "\t",    "Ω≈ç"};
  SeededRandom random(seed);
  std::string text;
  while (text.size() < bytes) {
    text += kWords[random.below(std::size(kWords))];
    if (random.below(8) != 0) text += ' ';
  }
  return text;
}

Tokenizer trained(std::int64_t vocabulary = 400) {
  BpeTrainer trainer(PreTokenizer::gpt2());
  trainer.feed(some_text(20'000, 1));
  return trainer.train({.vocabulary = vocabulary});
}

TEST(Utf8, KnowsWholeCharactersFromBroken) {
  EXPECT_EQ(utf8_valid_prefix("plain ASCII, longer than eight"), 30u);
  EXPECT_EQ(utf8_valid_prefix("é\xc3"), 2u);
  EXPECT_EQ(utf8_valid_prefix("\xc0\x80"), 0u) << "overlong";
  EXPECT_EQ(utf8_valid_prefix("\xed\xa0\x80"), 0u) << "surrogate";
  EXPECT_EQ(utf8_valid_prefix("\xf4\x90\x80\x80"), 0u) << "above U+10FFFF";
  EXPECT_EQ(utf8_valid_prefix("\xf4\x8f\xbf\xbf"), 4u);
  EXPECT_EQ(utf8_broken_prefix("\xff\x80z"), 2u);
  EXPECT_EQ(utf8_repaired("a\xe2\x82z\xff"), "a\xef\xbf\xbdz\xef\xbf\xbd");
}

TEST(Utf8Stream, ShowsOnlyWholeCharacters) {
  const std::string text =
      "aé日🙂\xff"
      "b";
  for (std::size_t step = 1; step < text.size(); ++step) {
    Utf8Stream stream;
    std::string shown;
    for (std::size_t at = 0; at < text.size(); at += step) {
      const std::string now = stream.add(std::string_view(text).substr(at, step));
      EXPECT_EQ(utf8_valid_prefix(now), now.size());
      shown += now;
    }
    shown += stream.finish();
    EXPECT_EQ(shown, utf8_repaired(text));
  }
  Utf8Stream stream;
  EXPECT_EQ(stream.add("\xf0\x9f\x99"), "");
  EXPECT_EQ(stream.finish(), "\xef\xbf\xbd");
}

TEST(ByteAlphabet, IsABijectionAndGpt2s) {
  EXPECT_EQ(bytes_to_alphabet(" a\n\xff"), "ĠaĊÿ");
  std::string all;
  for (int byte = 0; byte < 256; ++byte) all.push_back(static_cast<char>(byte));
  EXPECT_EQ(alphabet_to_bytes(bytes_to_alphabet(all)), all);
  EXPECT_EQ(alphabet_to_bytes("日"), std::nullopt);
  EXPECT_EQ(alphabet_to_bytes(" "), std::nullopt) << "a space is written Ġ";
}

TEST(PreTokenizer, CutsAsGpt2Does) {
  const PreTokenizer gpt2 = PreTokenizer::gpt2();
  EXPECT_THAT(pieces(gpt2, "Hello world's  end\n\n  it"),
              ElementsAre("Hello", " world", "'s", " ", " end", "\n\n ", " it"));
  EXPECT_THAT(pieces(gpt2, "don't 123abc!? ünï"), ElementsAre("don", "'t", " 123", "abc", "!?", " ünï"));
  EXPECT_THAT(pieces(gpt2, "a\xff\xfe b"), ElementsAre("a", "\xff\xfe", " b")) << "broken bytes are a piece";
  EXPECT_THAT(pieces(gpt2,
                     "a\xe1\xa0\x8e"
                     "b"),
              ElementsAre("a", "\xe1\xa0\x8e", "b"))
      << "U+180E is no space";
  EXPECT_THAT(pieces(gpt2, ""), ElementsAre());
  EXPECT_THAT(pieces(PreTokenizer::isolating({R"(\p{N})", kGpt2Pattern}, false), "in 1984 AD"),
              ElementsAre("in", " ", "1", "9", "8", "4", " AD"));
  EXPECT_THAT(pieces(PreTokenizer::isolating({kGpt2Pattern}, true), "so be it"), ElementsAre(" so", " be", " it"));
}

TEST(PreTokenizer, KnowsTheClassesOfNewerCharacters) {
  const std::string digits = R"(\p{N}{1,3}|[^\p{N}]+)", letters = R"(\p{Lu}\p{Ll}+)", signs = R"( ?[\p{P}\p{S}]+)";
  EXPECT_THAT(pieces(PreTokenizer::isolating({digits}), "a\U00010d43\U00010d44\U00010d45\U00010d46"),
              ElementsAre("a", "\U00010d43\U00010d44\U00010d45", "\U00010d46"))
      << "digits of Unicode 16";
  EXPECT_THAT(pieces(PreTokenizer::isolating({letters}), "\ua7cb\u1c8a\U00010d70."),
              ElementsAre("\ua7cb\u1c8a\U00010d70", "."))
      << "letters of three and four bytes";
  EXPECT_THAT(pieces(PreTokenizer::isolating({signs}), "a \U0001fae8!"), ElementsAre("a", " \U0001fae8!"))
      << "an emoji of Unicode 15";
  EXPECT_THAT(pieces(PreTokenizer::isolating({signs}), "\U0001fae8\xff\U0001fae8"),
              ElementsAre("\U0001fae8", "\xff", "\U0001fae8"));
}

TEST(PreTokenizer, CutsAsHuggingFacesSplitDoes) {
  using Behavior = PreTokenizer::Cut::Behavior;
  const auto cut = [](Behavior behavior, bool invert, std::string_view text) {
    return pieces(PreTokenizer({{"-", behavior, invert}}, false), text);
  };
  // What `tokenizers` 0.23 makes of them.
  constexpr std::string_view kText = "-a--bc---";
  EXPECT_THAT(cut(Behavior::kIsolated, false, kText), ElementsAre("-", "a", "-", "-", "bc", "-", "-", "-"));
  EXPECT_THAT(cut(Behavior::kRemoved, false, kText), ElementsAre("a", "bc"));
  EXPECT_THAT(cut(Behavior::kMergedWithPrevious, false, kText), ElementsAre("-", "a-", "-", "bc-", "-", "-"));
  EXPECT_THAT(cut(Behavior::kMergedWithNext, false, kText), ElementsAre("-a", "-", "-bc", "-", "-", "-"));
  EXPECT_THAT(cut(Behavior::kContiguous, false, kText), ElementsAre("-", "a", "--", "bc", "---"));
  EXPECT_THAT(cut(Behavior::kRemoved, true, kText), ElementsAre("-", "-", "-", "-", "-", "-"));
  EXPECT_THAT(cut(Behavior::kMergedWithPrevious, true, kText), ElementsAre("-a", "-", "-bc", "-", "-", "-"));
  EXPECT_THAT(cut(Behavior::kMergedWithNext, true, kText), ElementsAre("-", "a-", "-", "bc-", "-", "-"));
  EXPECT_THAT(cut(Behavior::kContiguous, true, kText), ElementsAre("-", "a", "--", "bc", "---"));
  EXPECT_FALSE(PreTokenizer({{"-", Behavior::kRemoved}}, false).changes_nothing());
}

TEST(Normalizer, LeavesMarksAloneThatCameAfterUnicode9) {
  const Normalizer nfc({{.kind = NormalizerStep::Kind::kNfc}}), nfkd({{.kind = NormalizerStep::Kind::kNfkd}});
  std::string scratch;
  EXPECT_EQ(nfc.apply("e\u0301 a\u0315\u0323", scratch), "\u00e9 \u1ea1\u0315") << "known to all";
  EXPECT_EQ(nfc.apply("e\u0301 a\u0898\u0323", scratch), "\u00e9 a\u0898\u0323") << "U+0898 is no mark to `tokenizers`";
  EXPECT_EQ(nfkd.apply("\ufb01\u32ff", scratch), "fi\u32ff");
}

TEST(PreTokenizer, RefusesPatternsThatAreNone) {
  EXPECT_THROW(PreTokenizer::isolating({"(unclosed"}, false), Error);
  EXPECT_THROW(PreTokenizer::isolating({std::string(5000, 'a')}, false), Error);
}

TEST(PreTokenizer, BoundsTheTimeOfACatastrophicPattern) {
  const PreTokenizer slow = PreTokenizer::isolating({"(a+)+$"});
  EXPECT_THROW(pieces(slow, std::string(60, 'a') + "c"), Error);
}

// The definition, word for word: again and again, the earliest merge that is possible, leftmost first.
std::vector<TokenId> merged_by_definition(const Bpe& bpe, std::string_view piece) {
  std::vector<TokenId> tokens;
  for (const char byte : piece) {
    for (TokenId id = 0; id < bpe.id_end(); ++id) {
      if (bpe.bytes(id) == std::string_view(&byte, 1)) tokens.push_back(id);
    }
  }
  for (bool changed = true; changed;) {
    changed = false;
    for (const auto& [left, right] : bpe.merges()) {
      for (std::size_t i = 0; i + 1 < tokens.size() && !changed; ++i) {
        if (tokens[i] != left || tokens[i + 1] != right) continue;
        const std::string bytes = std::string(bpe.bytes(left)) + std::string(bpe.bytes(right));
        for (TokenId id = 0; id < bpe.id_end(); ++id) {
          if (bpe.bytes(id) == bytes) tokens[i] = id;
        }
        tokens.erase(tokens.begin() + static_cast<std::ptrdiff_t>(i) + 1);
        changed = true;
      }
      if (changed) break;
    }
  }
  return tokens;
}

TEST(Bpe, FollowsTheDefinition) {
  const Tokenizer tokenizer = trained(330);
  const std::string text = some_text(3000, 2);
  SeededRandom random(3);
  for (int i = 0; i < 40; ++i) {
    const std::string_view piece =
        std::string_view(text).substr(random.below(2500), 1 + random.below(i % 4 ? 30 : 300));
    std::vector<TokenId> tokens;
    tokenizer.bpe().encode(piece, tokens);
    EXPECT_EQ(tokens, merged_by_definition(tokenizer.bpe(), piece)) << piece;
  }
}

TEST(Bpe, RefusesWhatIsNoVocabulary) {
  std::vector<std::pair<std::string, TokenId>> bytes;
  for (int byte = 0; byte < 256; ++byte) bytes.emplace_back(std::string(1, static_cast<char>(byte)), byte);
  EXPECT_NO_THROW(Bpe(bytes, {}, false));
  EXPECT_THROW(Bpe(bytes, {{'a', 'b'}}, false), Error) << "result missing";
  EXPECT_THROW(Bpe(bytes, {{'a', 999}}, false), Error) << "part missing";
  auto twice = bytes;
  twice.emplace_back("ab", 5);
  EXPECT_THROW(Bpe(twice, {}, false), Error) << "id twice";
  auto negative = bytes;
  negative.emplace_back("ab", -1);
  EXPECT_THROW(Bpe(negative, {}, false), Error);
  auto incomplete = bytes;
  incomplete.pop_back();
  EXPECT_FALSE(Bpe(incomplete, {}, false).complete());
  EXPECT_THROW(Bpe({{"ab", 0}}, {}, false), Error) << "no byte at all";
}

TEST(Bpe, AByteWithoutATokenIsUnknownOrLeftOut) {
  const std::vector<std::pair<std::string, TokenId>> vocabulary{{"a", 0}, {"b", 1}, {"ab", 2}};
  std::vector<TokenId> tokens;
  Bpe(vocabulary, {{0, 1}}, false).encode("a?b", tokens);
  EXPECT_THAT(tokens, ElementsAre(2)) << "left out, and what remains are neighbours, as `tokenizers` has it";
  tokens.clear();
  Bpe(vocabulary, {{0, 1}}, false, 7).encode("a?b", tokens);
  EXPECT_THAT(tokens, ElementsAre(0, 7, 1));
}

TEST(BpeTrainer, MergesTheMostFrequentPairFirst) {
  BpeTrainer trainer(PreTokenizer::gpt2());
  trainer.feed("abab abab abab cd cd");
  const Tokenizer tokenizer = trainer.train({.vocabulary = 256 + 3 + 1});
  ASSERT_EQ(tokenizer.bpe().merges().size(), 3u);
  EXPECT_EQ(tokenizer.bpe().bytes(256), "ab");
  EXPECT_EQ(tokenizer.bpe().bytes(257), "abab");
  EXPECT_EQ(tokenizer.vocabulary(), 260);
  EXPECT_EQ(tokenizer.end_of_text(), 259);
}

TEST(BpeTrainer, DoesNotDependOnTheOrderOfItsTexts) {
  BpeTrainer forward(PreTokenizer::gpt2()), backward(PreTokenizer::gpt2());
  for (std::uint64_t i = 0; i < 5; ++i) forward.feed(some_text(2000, i));
  for (std::uint64_t i = 5; i-- > 0;) backward.feed(some_text(2000, i));
  EXPECT_EQ(tokenizer_to_json(forward.train({.vocabulary = 350})),
            tokenizer_to_json(backward.train({.vocabulary = 350})));
}

TEST(BpeTrainer, StopsWhereTheTextHasNoMorePairs) {
  BpeTrainer trainer(PreTokenizer::gpt2());
  trainer.feed("aaaa aaaa");
  EXPECT_LT(trainer.train({.vocabulary = 1000}).vocabulary(), 265);
  EXPECT_EQ(BpeTrainer(PreTokenizer::gpt2()).train({.vocabulary = 1000}).vocabulary(), 257);
  EXPECT_THROW(trainer.train({.vocabulary = 256}), Error);
}

TEST(Tokenizer, GivesBackEveryByte) {
  const Tokenizer tokenizer = trained();
  SeededRandom random(7);
  for (int i = 0; i < 200; ++i) {
    std::string text = i % 2 ? some_text(random.below(300), static_cast<std::uint64_t>(i)) : "";
    const std::size_t junk = random.below(20);
    for (std::size_t j = 0; j < junk; ++j) {
      text.insert(text.begin() + static_cast<std::ptrdiff_t>(random.below(text.size() + 1)),
                  static_cast<char>(random.below(256)));
    }
    EXPECT_EQ(tokenizer.decode(tokenizer.encode(text), true), text);
  }
}

TEST(Tokenizer, SpecialTokensAreTheirOwn) {
  const Tokenizer tokenizer = trained();
  const TokenId end = *tokenizer.end_of_text();
  const auto tokens = tokenizer.encode("a<|endoftext|>b<|endoftext");
  EXPECT_EQ(std::count(tokens.begin(), tokens.end(), end), 1);
  EXPECT_EQ(tokenizer.decode(tokens, true), "a<|endoftext|>b<|endoftext");
  EXPECT_EQ(tokenizer.decode(tokens), "ab<|endoftext");
  EXPECT_THROW(tokenizer.decode(std::vector<TokenId>{99'999}), Error);
  EXPECT_THROW(tokenizer.decode(std::vector<TokenId>{-1}), Error);
}

TEST(Tokenizer, TheBytesOfItsTokensAreWhatItDecodes) {
  const Tokenizer plain = trained();
  const auto end = static_cast<TokenId>(plain.vocabulary());
  std::vector<AddedToken> added = plain.added();
  added.push_back({.content = "<tool_call>", .id = end, .special = false});
  added.push_back({.content = "<|pad|>", .id = end + 1, .special = true});
  const Tokenizer tokenizer(plain.bpe(), plain.pretokenizer(), std::move(added));
  EXPECT_EQ(tokenizer.bytes(end), "<tool_call>");
  EXPECT_EQ(tokenizer.bytes(end + 1), "");
  for (TokenId id = 0; id < tokenizer.vocabulary(); ++id) EXPECT_EQ(tokenizer.bytes(id), tokenizer.decode({{id}}));
  EXPECT_EQ(tokenizer.bytes(-1), "");
  EXPECT_EQ(tokenizer.bytes(end + 2), "");
}

TEST(Encoder, ItsCacheChangesNothing) {
  const Tokenizer tokenizer = trained();
  const std::string text = some_text(50'000, 11);
  Encoder encoder(tokenizer);
  std::vector<TokenId> first, second, piecewise;
  encoder.encode(text, first);
  encoder.encode(text, second);
  EXPECT_EQ(first, second);
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t cut = safe_cut(std::string_view(text).substr(at), 700);
    ASSERT_GT(cut, 0u);
    encoder.encode(std::string_view(text).substr(at, cut), piecewise);
    at += cut;
  }
  EXPECT_EQ(piecewise, first) << "a safe cut must not change the tokens";
}

// Property: wherever safe_cut() finds a place, the pieces of both sides are those of the whole.
TEST(SafeCut, ChangesNoPieceOfAnyPreTokenizerInUse) {
  const std::vector<PreTokenizer> pretokenizers{
      PreTokenizer::gpt2(),
      // Llama 3; Qwen 2 with single digits
      PreTokenizer::isolating(
          {R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"},
          false),
      // o200k
      PreTokenizer::isolating(
          {R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)"},
          false),
      // DeepSeek 3
      PreTokenizer::isolating(
          {R"(\p{N}{1,3})", R"([一-龥぀-ゟ゠-ヿ]+)",
           R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"},
          false)};
  const std::vector<std::string> characters{"a",
                                            "B",
                                            "é",
                                            "7",
                                            "٣",
                                            "。",
                                            "，",
                                            "字",
                                            "の",
                                            "한",
                                            "ก",
                                            "\xe0\xb8\xb4",
                                            "'",
                                            "’",
                                            "s",
                                            ".",
                                            "/",
                                            "|",
                                            "<",
                                            ">",
                                            "｜",
                                            "▁",
                                            " ",
                                            " ",
                                            " ",
                                            "\n",
                                            "\n",
                                            "\r",
                                            "\t",
                                            "\xc2\xa0",
                                            "\xe3\x80\x80",
                                            "\xe2\x80\xa8",
                                            "😀",
                                            "\xe2\x80\x8d"};
  SeededRandom random(5);
  int places = 0;
  for (int round = 0; round < 1000; ++round) {
    std::string text;
    for (std::uint64_t i = random.below(14); i-- > 0;) text += characters[random.below(characters.size())];
    for (std::size_t limit = 0; limit < text.size(); ++limit) {
      const std::size_t cut = safe_cut(text, limit);
      ASSERT_LE(cut, limit);
      if (cut == 0) continue;
      ++places;
      for (const PreTokenizer& pretokenizer : pretokenizers) {
        std::vector<std::string> whole, parts;
        pretokenizer.split(text, [&](std::string_view piece) { whole.emplace_back(piece); });
        for (const std::string& part : {text.substr(0, cut), text.substr(cut)}) {
          pretokenizer.split(part, [&](std::string_view piece) { parts.emplace_back(piece); });
        }
        ASSERT_EQ(parts, whole) << "'" << text << "' cut at " << cut;
      }
    }
  }
  EXPECT_GT(places, 1000);
}

TEST(SafeCut, FindsPlacesInEveryScriptAndNoneInsideAToken) {
  for (const std::string sentence : {"In the beginning ", "В начале сотворил ", "起初神创造天地。", "在地上，",
                                     "はじめに神は、", "فِي الْبَدْءِ ", "x=1;\n"}) {
    std::string text;
    while (text.size() < 400) text += sentence;
    const std::size_t cut = safe_cut(text, 300);
    EXPECT_GT(cut, 300 - 2 * sentence.size()) << sentence;
    EXPECT_LE(cut, 300U) << sentence;
  }
  EXPECT_EQ(safe_cut("aaaa<|endoftext|>aaaa", 10), 0U);
  EXPECT_EQ(safe_cut("aa <|end of text|>aaaa", 14), 2U);
  EXPECT_EQ(safe_cut(std::string(1000, 'A'), 700), 0U);
  EXPECT_EQ(safe_cut("whole", 5), 5U);
}

// What a tokenizer.json says, in our own words: not the text that was read, which saving gives back.
std::string rewritten(std::string_view json) {
  TokenizerParts parts = tokenizer_parts_from_json(json, "tokenizer.json");
  parts.files.clear();
  return tokenizer_to_json(Tokenizer(std::move(parts)));
}

TEST(TokenizerJson, ReadsWhatItWrote) {
  const Tokenizer tokenizer = trained();
  const std::string written = tokenizer_to_json(tokenizer);
  const Tokenizer read = tokenizer_from_json(written, "tokenizer.json");
  EXPECT_EQ(rewritten(written), written);
  EXPECT_EQ(tokenizer_to_json(tokenizer_from_json(written + " ", "tokenizer.json")), written + " ") << "byte for byte";
  const std::string text = some_text(3000, 5);
  EXPECT_EQ(read.encode(text), tokenizer.encode(text));
  EXPECT_EQ(read.vocabulary(), tokenizer.vocabulary());
}

std::string replaced(std::string text, std::string_view from, std::string_view to) {
  const auto at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

TEST(TokenizerJson, ReadsMergesAsStringsAndOtherPreTokenizers) {
  const std::string written = tokenizer_to_json(trained(258));  // one merge
  const auto merges = written.find("\"merges\": [");
  std::string as_string = written;
  const auto pair = written.find("\", \"", merges);
  as_string.replace(pair, 4, " ");
  as_string.erase(written.find('[', merges + 12), 1);
  as_string.erase(as_string.find(']', merges), 1);
  EXPECT_EQ(rewritten(as_string), written);

  const std::string split =
      replaced(written, R"({"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":true})",
               R"({"type":"Sequence","pretokenizers":[{"type":"Digits","individual_digits":true},
          {"type":"Split","pattern":{"Regex":"\\s+|\\S+"},"behavior":"Isolated","invert":false},
          {"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":false}]})");
  const Tokenizer tokenizer = tokenizer_from_json(split, "x");
  EXPECT_THAT(pieces(tokenizer.pretokenizer(), "a12 b"), ElementsAre("a", "1", "2", " ", "b"));
  EXPECT_THAT(pieces(tokenizer.pretokenizer(), "a\U00010d43\U00011de0b"),
              ElementsAre("a", "\U00010d43", "\U00011de0", "b"))
      << "digits of Unicode 16 and 17";
}

TEST(TokenizerJson, RefusesByName) {
  const std::string good = tokenizer_to_json(trained(300));
  const std::vector<std::array<std::string, 3>> cases{
      {"\"normalizer\": null", R"("normalizer": {"type":"Lowercase"})", "Lowercase"},
      {"\"type\": \"BPE\"", R"("type": "Unigram")", "Unigram"},
      {"\"byte_fallback\": false", "\"byte_fallback\": true", "byte_fallback"},
      {"\"dropout\": null", "\"dropout\": 0.1", "dropout"},
      {"\"post_processor\": {\"type\":\"ByteLevel\"", "\"post_processor\": {\"type\":\"BertProcessing\"",
       "BertProcessing"},
      {"\"decoder\": {\"type\":\"ByteLevel\"", "\"decoder\": {\"type\":\"WordPiece\"", "WordPiece"},
      {"\"continuing_subword_prefix\": null", "\"continuing_subword_prefix\": \"##\"", "continuing_subword_prefix"},
      {"\"a\": ", "\"日\": ", "byte alphabet"},
      {"\"a\": ", "\"a\": -", "id -"},
      {"\"id\":299", "\"id\":4194304", "4194304"},
      {"\"version\"", "version", "not JSON"},
      {"\"merges\"", "\"other\"", "merges"},
      {"\"vocab\"", "\"other\"", "vocab"},
      {"\"pre_tokenizer\": {\"type\":\"ByteLevel\"", "\"pre_tokenizer\": {\"type\":\"Whitespace\"", "Whitespace"},
  };
  for (const auto& [from, to, expected] : cases) {
    try {
      (void)tokenizer_from_json(replaced(good, from, to), "tokenizer.json");
      ADD_FAILURE() << to << " was accepted";
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), HasSubstr(expected));
      EXPECT_THAT(error.what(), HasSubstr("tokenizer.json"));
    }
  }
}

}  // namespace
}  // namespace athanor::model
