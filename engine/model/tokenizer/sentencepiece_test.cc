#include "engine/model/tokenizer/sentencepiece.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "common/error.h"
#include "common/random.h"
#include "engine/model/tokenizer/character_bpe.h"
#include "engine/model/tokenizer/tokenizer_json.h"

namespace athanor::model {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// Fields of a protocol buffer.
std::string varint(std::uint64_t value) {
  std::string data;
  for (; value > 0x7f; value >>= 7) data += static_cast<char>((value & 0x7f) | 0x80);
  return data + static_cast<char>(value);
}
std::string field(std::uint64_t number, std::uint64_t value) { return varint(number << 3) + varint(value); }
std::string field(std::uint64_t number, std::string_view bytes) {
  return varint(number << 3 | 2) + varint(bytes.size()) + std::string(bytes);
}
std::string field(std::uint64_t number, float value) {
  std::string data = varint(number << 3 | 5);
  data.resize(data.size() + sizeof value);
  std::memcpy(data.data() + data.size() - sizeof value, &value, sizeof value);
  return data;
}

enum Type : std::uint64_t { kText = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kByte = 6 };
struct Piece {
  std::string text;
  Type type = kText;
  float score = 0;
};

// A BPE; `charsmap` of its normalizer, if it has one.
std::string model_of(const std::vector<Piece>& pieces, std::string_view charsmap = {}) {
  std::string data;
  bool bytes = false;
  for (const Piece& piece : pieces) {
    data += field(1, field(1, piece.text) + field(2, piece.score) + field(3, std::uint64_t{piece.type}));
    bytes = bytes || piece.type == kByte;
  }
  data += field(2, field(3, std::uint64_t{2}) + field(35, std::uint64_t{bytes}));
  std::string normalizer = field(3, std::uint64_t{0}) + field(4, std::uint64_t{0}) + field(5, std::uint64_t{1});
  if (!charsmap.empty()) normalizer += field(2, charsmap);
  return data + field(3, normalizer);
}

const std::vector<Piece> kLetters{{"<unk>", kUnknown}, {"<s>", kControl}, {"</s>", kControl}, {"a"}, {"b"}, {"▁"}};

// A double array as Darts-clone lays it out, one block of 256 units a state.
class Charsmap {
 public:
  static constexpr std::uint32_t kBlock = 256;

  explicit Charsmap(std::uint32_t states) : units((states + 1) * kBlock) {
    for (std::uint32_t place = 1; place < units.size(); ++place) units[place] = (place ^ 1) & 0xff;  // no state's
    lead(0, 1);
  }
  // The unit at `place` leads to the state.
  void lead(std::uint32_t place, std::uint32_t state) { units[place] |= (place ^ (state * kBlock)) << 10; }
  // From one state to another; `value`: a key ends there.
  void edge(std::uint32_t from, char by, std::uint32_t to, std::optional<std::uint32_t> value = std::nullopt) {
    const std::uint32_t place = (from * kBlock) ^ static_cast<unsigned char>(by);
    units[place] = static_cast<unsigned char>(by) | (value ? 0x100u : 0);
    lead(place, to);
    if (value) units[to * kBlock] = 0x80000000u | *value;
  }
  std::string bytes(std::string_view texts) const {
    const auto size = static_cast<std::uint32_t>(units.size() * sizeof units[0]);
    std::string made(reinterpret_cast<const char*>(&size), sizeof size);
    made.append(reinterpret_cast<const char*>(units.data()), size);
    return made.append(texts);
  }

  std::vector<std::uint32_t> units;
};

// a^1 to a^n become b.
std::string run_of_a(std::uint32_t n) {
  Charsmap map(n + 1);
  for (std::uint32_t i = 1; i <= n; ++i) map.edge(i, 'a', i + 1, 0);
  return map.bytes(std::string_view("b", 2));
}

std::vector<TokenId> ids(const Subwords& subwords, std::string_view text) {
  std::vector<TokenId> found;
  subwords.encode(text, found);
  return found;
}

TEST(SentencePiece, NormalizesByItsTable) {
  EXPECT_THAT(ids(SentencePiece(model_of(kLetters)), "aba"), ElementsAre(3, 4, 3));
  EXPECT_THAT(ids(SentencePiece(model_of(kLetters, run_of_a(1))), "aba"), ElementsAre(4, 4, 4));
  EXPECT_THAT(ids(SentencePiece(model_of(kLetters, run_of_a(32))), std::string(33, 'a')), ElementsAre(4, 4));
  Charsmap shared(4);  // "aa" and "ba" end in one state, as minimal tries have it
  shared.edge(1, 'a', 2);
  shared.edge(1, 'b', 2);
  shared.edge(2, 'a', 3, 0);
  EXPECT_THAT(ids(SentencePiece(model_of(kLetters, shared.bytes(std::string_view("b", 2)))), "baaab"),
              ElementsAre(4, 4, 4));
}

TEST(SentencePiece, RefusesADamagedTableBeforeTheLibraryWalksIt) {
  SeededRandom random(12);
  std::string noise(1024, '\0');
  for (char& c : noise) c = static_cast<char>(random.below(256));
  const std::uint32_t size = 1000;
  std::memcpy(noise.data(), &size, sizeof size);
  noise.back() = '\0';
  Charsmap outside(1), circle(1), value(2), unended(2);
  outside.edge(1, 'a', 1);
  outside.units[Charsmap::kBlock ^ 'a'] |= 0x200;  // its offset is 256 times as large
  circle.edge(1, 'a', 1);
  value.edge(1, 'a', 2, 2);
  unended.edge(1, 'a', 2, 0);
  const std::string text("b", 2), whole = run_of_a(1);
  const std::pair<std::string, const char*> cases[]{
      {std::string("\4\0\0\0\xff\xff\xff\xff", 8) + "ab", "has no end"},
      {std::string("\4\0\0\0\xff\xff\xff\xff\0", 9), "out of itself"},
      {noise, "normalizer's table"},
      {whole.substr(0, 3), "no size"},
      {whole.substr(0, whole.size() - 2), "the size that it states"},
      {std::string("\3\0\0\0", 4) + whole.substr(4), "the size that it states"},
      {outside.bytes(text), "out of itself"},
      {circle.bytes(text), "in circles"},
      {value.bytes(text), "to no text"},
      {unended.bytes("b"), "has no end"},
      {run_of_a(33), "begin each other"},
  };
  for (const auto& [charsmap, why] : cases) {
    try {
      (void)tokenizer_parts_from_sentencepiece(model_of(kLetters, charsmap), "tokenizer.model");
      ADD_FAILURE() << "accepted, though it " << why;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kInvalid);
      EXPECT_THAT(error.what(), HasSubstr(why));
    }
  }
}

// Property: what is user-defined, with spaces and without, in each other and of one character, is found as the library
// finds it, by our own merges.
TEST(SentencePiece, UserDefinedPiecesAreFoundAsTheLibraryFindsThem) {
  SeededRandom random(14);
  const std::vector<std::string> characters{"▁", "a", "b", "é", "x"};
  const auto some = [&](std::uint64_t longest) {
    std::string text;
    for (std::uint64_t n = 1 + random.below(longest); n-- > 0;) text += characters[random.below(characters.size())];
    return text;
  };
  for (int round = 0; round < 200; ++round) {
    std::vector<Piece> pieces = kLetters;
    pieces.push_back({"é"});
    for (int i = 0; i < 12; ++i) {
      const std::string text = some(4);
      if (text.find('x') != std::string::npos && i % 2 == 0) continue;  // x is no token: only as a whole
      if (std::any_of(pieces.begin(), pieces.end(), [&](const Piece& piece) { return piece.text == text; })) continue;
      pieces.push_back({text, i % 2 == 0 ? kText : kUserDefined, -static_cast<float>(i)});
    }
    const std::string model = model_of(pieces);
    const SentencePiece theirs(model);
    const TokenizerParts ours = tokenizer_parts_from_sentencepiece(model, "tokenizer.model");
    ASSERT_NE(dynamic_cast<const CharacterBpe*>(ours.subwords.get()), nullptr);
    const Tokenizer tokenizer(ours);
    for (int i = 0; i < 20; ++i) {
      std::string text = some(30);
      if (i % 2 == 0) {
        for (std::size_t at; (at = text.find("▁")) != std::string::npos;) text.replace(at, 3, " ");
      }
      ASSERT_EQ(tokenizer.encode(text), ids(theirs, text)) << text;
    }
  }
}

TEST(SentencePiece, AUserDefinedPieceIsNotWrittenAsJson) {
  std::vector<Piece> pieces = kLetters;
  pieces.push_back({"[REF]", kUserDefined});
  TokenizerParts parts = tokenizer_parts_from_sentencepiece(model_of(pieces), "tokenizer.model");
  parts.files.clear();
  EXPECT_THROW(tokenizer_to_json(Tokenizer(std::move(parts))), Error) << "its merges would not be the same there";
}

TEST(SentencePiece, APieceOfCharactersThatAreNoTokensIsMadeAllTheSame) {
  std::vector<Piece> pieces = kLetters;
  pieces.push_back({"xy", kText, -1});
  const Tokenizer tokenizer(tokenizer_parts_from_sentencepiece(model_of(pieces), "tokenizer.model"));
  EXPECT_THAT(tokenizer.encode("axyb x"), ElementsAre(3, 6, 4, 5, 0));
}

// Property: a model of which bytes were changed or left out is refused, or encodes something.
TEST(SentencePiece, ADamagedModelEndsInAnError) {
  const std::string good = model_of(kLetters, run_of_a(3));
  SeededRandom random(13);
  int refused = 0;
  for (int i = 0; i < 2000; ++i) {
    std::string damaged = good;
    for (std::uint64_t n = 1 + random.below(4); n-- > 0;) {
      damaged[random.below(damaged.size())] = static_cast<char>(random.below(256));
    }
    if (i % 3 == 0) damaged.resize(random.below(damaged.size()));
    try {
      (void)Tokenizer(tokenizer_parts_from_sentencepiece(damaged, "tokenizer.model")).encode("aaaabaab a \xff");
    } catch (const Error&) {
      ++refused;
    }
  }
  EXPECT_GT(refused, 600);
  EXPECT_LT(refused, 2000);
}

}  // namespace
}  // namespace athanor::model
