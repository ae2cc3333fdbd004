#include "engine/model/tokenizer/character_bpe.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "common/error.h"
#include "common/random.h"
#include "engine/model/tokenizer/bpe_trainer.h"
#include "engine/model/tokenizer/byte_alphabet.h"
#include "engine/model/tokenizer/llama2c.h"
#include "engine/model/tokenizer/tokenizer_files.h"
#include "engine/model/tokenizer/tokenizer_gguf.h"
#include "engine/model/tokenizer/tokenizer_json.h"

namespace athanor::model {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

const std::vector<std::string> kPieces{"▁",  "t",   "h",    "e",  "a",   "n",    "d",  "é",
                                       "th", "the", "▁the", "an", "and", "▁and", "▁▁", "he"};

// As Llama's vocabularies begin: unknown, BOS, EOS, the bytes; then text, the longer the later, the earlier the better.
GgufTokenizer llama() {
  GgufTokenizer made{.model = "llama",
                     .tokens = {"<unk>", "<s>", "</s>"},
                     .scores = {0, 0, 0},
                     .types = {2, 3, 3},
                     .bos_token_id = 1,
                     .eos_token_id = 2};
  for (int byte = 0; byte < 256; ++byte) {
    made.tokens.push_back(fmt::format("<0x{:02X}>", byte));
    made.scores.push_back(0);
    made.types.push_back(6);
  }
  for (std::size_t i = 0; i < kPieces.size(); ++i) {
    made.tokens.push_back(kPieces[i]);
    made.scores.push_back(-static_cast<float>(i));
    made.types.push_back(1);
  }
  return made;
}

std::vector<std::string> pieces(const Tokenizer& tokenizer, std::string_view text, const EncodeOptions& options = {}) {
  std::vector<std::string> found;
  for (const TokenId id : tokenizer.encode(text, options)) {
    found.push_back(
        dynamic_cast<const CharacterBpe&>(tokenizer.subwords()).tokens()[static_cast<std::size_t>(id)].piece);
  }
  return found;
}

TEST(CharacterBpe, MergesByScoreAndFallsBackToBytes) {
  const Tokenizer tokenizer(tokenizer_parts_from_gguf(llama()));
  EXPECT_THAT(pieces(tokenizer, "the and"), ElementsAre("▁the", "▁and"));
  EXPECT_THAT(pieces(tokenizer, "éñ"), ElementsAre("▁", "é", "<0xC3>", "<0xB1>"));
  EXPECT_THAT(pieces(tokenizer, "<0x41>x")[0], "▁") << "a byte's name in text is text";
  EXPECT_THAT(pieces(tokenizer, "the<s>the", {.with_specials = true}), ElementsAre("<s>", "▁the", "<s>", "▁the"));
  EXPECT_EQ(pieces(tokenizer, "<s>", {.specials_in_text = false}).size(), 4u) << "▁ and three bytes";
  EXPECT_THAT(pieces(tokenizer, " the", {.continues = true}), ElementsAre("▁the"));
  EXPECT_THAT(pieces(tokenizer, ""), ElementsAre());
  for (const std::string text : {"the and", " the", "broken \xff\xc3", "日本 é\n", ""}) {
    EXPECT_EQ(tokenizer.decode(tokenizer.encode(text)), text);
  }
}

// Characters, some of the bytes, and what pairs of tokens make: any vocabulary.
CharacterBpe some_vocabulary(SeededRandom& random) {
  std::vector<CharacterBpe::Token> tokens{{"<unk>", 0, CharacterBpe::Kind::kControl}};
  const auto next = [&] { return static_cast<TokenId>(tokens.size()); };
  for (const std::string piece : {"▁", "a", "b", "é", "日"}) {
    if (random.below(4) != 0) tokens.push_back({piece, next()});
  }
  const std::uint64_t missing = random.below(3);  // all bytes, most of them, none
  for (int byte = 0; byte < 256 && missing < 2; ++byte) {
    if (missing == 0 || random.below(8) != 0) {
      tokens.push_back({fmt::format("<0x{:02X}>", byte), next(), CharacterBpe::Kind::kByte});
    }
  }
  std::vector<std::pair<TokenId, TokenId>> merges;
  for (int i = 0; i < 12; ++i) {
    const CharacterBpe::Token &left = tokens[random.below(tokens.size())], &right = tokens[random.below(tokens.size())];
    const std::string whole = left.piece + right.piece;
    const bool text = left.kind == CharacterBpe::Kind::kText && right.kind == CharacterBpe::Kind::kText;
    if (!text || std::any_of(tokens.begin(), tokens.end(), [&](const auto& token) { return token.piece == whole; })) {
      continue;
    }
    merges.emplace_back(left.id, right.id);
    tokens.push_back({whole, next()});
  }
  return CharacterBpe(std::move(tokens), std::move(merges), {.unknown = 0, .fuse_unknown = random.below(2) == 0});
}

TEST(CharacterBpe, WordsAloneGiveWhatTheWholeGives) {
  SeededRandom random(5);
  const std::vector<std::string> characters{"▁", "▁", "a", "b", "é", "日", "x", "\xff"};
  int parts_made = 0;
  for (int i = 0; i < 3000; ++i) {
    const CharacterBpe bpe = some_vocabulary(random);
    std::string text;
    for (std::size_t n = random.below(40); n > 0; --n) text += characters[random.below(characters.size())];
    std::vector<TokenId> whole, parts;
    bpe.encode(text, whole);
    for (std::string_view rest = text; !rest.empty(); ++parts_made) {
      const std::size_t size = bpe.first_part(rest);
      ASSERT_GT(size, 0u);
      bpe.encode(rest.substr(0, size), parts);
      rest.remove_prefix(size);
    }
    ASSERT_EQ(parts, whole) << text;
  }
  EXPECT_GT(parts_made, 6000) << "most are cut";
}

TEST(CharacterBpe, FallsBackToTheBytesThatACharacterHas) {
  std::vector<CharacterBpe::Token> tokens{{"<unk>", 0, CharacterBpe::Kind::kControl},
                                          {"<0xC3>", 1, CharacterBpe::Kind::kByte},
                                          {"<0xA9>", 2, CharacterBpe::Kind::kByte},
                                          {"a", 3}};
  const CharacterBpe bpe(tokens, std::vector<std::pair<TokenId, TokenId>>(), {.unknown = 0});
  std::vector<TokenId> ids;
  bpe.encode("aéèxa", ids);
  EXPECT_THAT(ids, ElementsAre(3, 1, 2, 0, 3)) << "é has both of its bytes, è but one";
}

TEST(CharacterBpe, CutsNothingWhereATokenGoesOverAWordsEnd) {
  GgufTokenizer gguf = llama();
  for (const char* piece : {"e▁", "e▁a"}) {
    gguf.tokens.push_back(piece);
    gguf.scores.push_back(1);
    gguf.types.push_back(1);
  }
  const Tokenizer tokenizer(tokenizer_parts_from_gguf(gguf));
  EXPECT_EQ(tokenizer.subwords().first_part("the▁and"), std::strlen("the▁and"));
  EXPECT_THAT(pieces(tokenizer, "the and"), ElementsAre("▁", "th", "e▁a", "n", "d"));
}

TEST(CharacterBpe, ItsTokenizerJsonGivesTheSame) {
  const Tokenizer tokenizer(tokenizer_parts_from_gguf(llama()));
  const Tokenizer read = unpack_tokenizer(pack_tokenizer(tokenizer));
  EXPECT_EQ(pack_tokenizer(read), pack_tokenizer(tokenizer));
  for (const std::string text : {"the and", "  the", "<s>the</s> and", "ñ the\n"}) {
    EXPECT_EQ(read.encode(text, {.with_specials = true}), tokenizer.encode(text, {.with_specials = true})) << text;
    EXPECT_EQ(read.decode(read.encode(text)), tokenizer.decode(tokenizer.encode(text)));
  }
  EXPECT_EQ(read.eos(), 2);
  EXPECT_EQ(read.bos(), 1);
}

// llama2.c's own format.
std::string llama2c(const GgufTokenizer& from) {
  std::string made;
  const auto put = [&](auto value) { made.append(reinterpret_cast<const char*>(&value), sizeof value); };
  put(std::uint32_t{32});
  for (std::size_t i = 0; i < from.tokens.size(); ++i) {
    std::string piece = i == 1 || i == 2 ? "\n" + from.tokens[i] + "\n" : from.tokens[i];
    for (std::size_t at; i > 258 && (at = piece.find("▁")) != std::string::npos;) piece.replace(at, 3, " ");
    put(from.scores[i]);
    put(static_cast<std::int32_t>(piece.size()));
    made += piece;
  }
  return made;
}

TEST(Llama2c, GivesWhatTheSameVocabularyGivesElsewhere) {
  const Tokenizer tokenizer(tokenizer_parts_from_llama2c(llama2c(llama()), "t.bin")),
      other(tokenizer_parts_from_gguf(llama()));
  for (const std::string text : {"the and", "  the", "ñ\n", "and the  and"}) {
    EXPECT_EQ(tokenizer.encode(text, {.with_specials = true}), other.encode(text, {.with_specials = true})) << text;
    EXPECT_EQ(tokenizer.decode(tokenizer.encode(text)), text);
  }
  EXPECT_EQ(tokenizer.find_added("<s>"), 1);
}

TEST(Llama2c, RefusesWhatIsDamaged) {
  const std::string good = llama2c(llama());
  for (const std::string& bad :
       {good.substr(0, good.size() - 1), good.substr(0, 3), good.substr(0, 600), std::string(4, '\0') + good.substr(4),
        good.substr(0, 8) + std::string(4, '\xff') + good.substr(12)}) {
    try {
      (void)tokenizer_parts_from_llama2c(bad, "t.bin");
      ADD_FAILURE() << bad.size() << " bytes were accepted";
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), HasSubstr("t.bin is no llama2.c tokenizer"));
    }
  }
}

TEST(Gguf, ByteLevelTokenizersCutAsTheirNameSays) {
  BpeTrainer trainer(PreTokenizer::gpt2());
  trainer.feed("the lord said unto them 1234 1234 12 123 é é");
  const Tokenizer trained = trainer.train({.vocabulary = 280});
  GgufTokenizer gguf{.model = "gpt2", .pre = "gpt-2", .eos_token_id = *trained.end_of_text()};
  for (TokenId id = 0; id < trained.vocabulary(); ++id) {
    const bool special = id == *trained.end_of_text();
    gguf.tokens.push_back(special ? std::string(kEndOfText) : bytes_to_alphabet(trained.bytes(id)));
    gguf.types.push_back(special ? 3 : 1);
  }
  for (const auto& [left, right] : trained.bpe().merges()) {
    gguf.merges.push_back(bytes_to_alphabet(trained.bytes(left)) + " " + bytes_to_alphabet(trained.bytes(right)));
  }
  const std::string text = "the lord 1234 said<|endoftext|>";
  EXPECT_EQ(Tokenizer(tokenizer_parts_from_gguf(gguf)).encode(text), trained.encode(text));
  gguf.pre = "smollm";
  const auto digits = Tokenizer(tokenizer_parts_from_gguf(gguf)).encode("1234");
  EXPECT_EQ(digits.size(), 4u);
  gguf.pre = "qwen2";
  EXPECT_EQ(Tokenizer(tokenizer_parts_from_gguf(gguf)).encode("e\u0301"), trained.encode("é"));
}

TEST(Gguf, RefusesByName) {
  const std::vector<std::pair<std::function<void(GgufTokenizer&)>, const char*>> cases{
      {[](GgufTokenizer& g) { g.model = "bert"; }, "bert"},
      {[](GgufTokenizer& g) { g.tokens.clear(); }, "no tokens"},
      {[](GgufTokenizer& g) { g.scores.pop_back(); }, "scores"},
      {[](GgufTokenizer& g) { g.types.pop_back(); }, "types"},
      {[](GgufTokenizer& g) { g.bos_token_id = 9999; }, "9999"},
      {[](GgufTokenizer& g) { g.model = "gpt2", g.pre = "mystery"; }, "mystery"},
      {[](GgufTokenizer& g) { g.tokens[10] = "<0xZZ>"; }, "<0xZZ>"},
      {[](GgufTokenizer& g) { g.tokens.back() = std::string(1025, 'h'); }, "1025 bytes"},
      {[](GgufTokenizer& g) { g.scores.back() = NAN; }, "no number as score"},
      {[](GgufTokenizer& g) { g.tokens.back() = "hq"; }, "\"hq\""},
  };
  for (const auto& [damage, expected] : cases) {
    GgufTokenizer gguf = llama();
    damage(gguf);
    try {
      (void)tokenizer_parts_from_gguf(gguf);
      ADD_FAILURE() << expected << " was accepted";
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), HasSubstr(expected));
    }
  }
}

}  // namespace
}  // namespace athanor::model
