#include "engine/model/tokenizer/llama2c.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "common/error.h"
#include "engine/model/tokenizer/character_bpe.h"

namespace athanor::model {

namespace {

static_assert(std::endian::native == std::endian::little);

constexpr TokenId kUnknown = 0, kBos = 1, kEos = 2, kFirstByte = 3, kTextFrom = 3 + 256;

}  // namespace

TokenizerParts tokenizer_parts_from_llama2c(std::string_view contents, std::string_view source) {
  const auto refuse = [&](const std::string& why) {
    throw Error(ErrorKind::kInvalid, "{} is no llama2.c tokenizer that can be used: {}", source, why);
  };
  const auto take = [&](void* into, std::size_t bytes) {
    if (contents.size() < bytes) refuse("it ends in the middle of a token");
    std::memcpy(into, contents.data(), bytes);
    contents.remove_prefix(bytes);
  };
  std::uint32_t longest = 0;
  take(&longest, sizeof longest);
  std::vector<CharacterBpe::Token> tokens;
  while (!contents.empty()) {
    const auto id = static_cast<TokenId>(tokens.size());
    CharacterBpe::Token token{.id = id};
    std::int32_t size = 0;
    take(&token.score, sizeof token.score);
    take(&size, sizeof size);
    const auto size_max = std::min<std::size_t>(longest, CharacterBpe::kScoredBytesMax);
    if (size <= 0 || std::cmp_greater(size, size_max)) {
      refuse(fmt::format("its token {} has {} bytes, where 1 to {} are possible", id, size, size_max));
    }
    token.piece.resize(static_cast<std::size_t>(size));
    take(token.piece.data(), token.piece.size());
    if (id < kFirstByte) {
      // The exporter wraps these names in line ends, so that they print well.
      const auto begin = token.piece.find_first_not_of('\n');
      if (begin == std::string::npos) refuse(fmt::format("its token {} has no name", id));
      token.piece = token.piece.substr(begin, token.piece.find_last_not_of('\n') - begin + 1);
      token.kind = CharacterBpe::Kind::kControl;
    } else if (id < kTextFrom) {
      token.kind = CharacterBpe::Kind::kByte;
    }
    tokens.push_back(std::move(token));
  }
  if (tokens.size() <= kTextFrom) refuse(fmt::format("it has {} tokens, too few for all bytes", tokens.size()));
  TokenizerParts parts;
  for (const TokenId id : {kUnknown, kBos, kEos}) {
    parts.added.push_back({.content = tokens[static_cast<std::size_t>(id)].piece, .id = id});
  }
  parts.bos = parts.added[kBos].content;
  parts.eos = parts.added[kEos].content;
  parts.before = {kBos};
  parts.strip_first_space = true;
  parts.normalizer = Normalizer({{.kind = NormalizerStep::Kind::kPrepend, .text = " "}});
  try {
    auto made = std::make_shared<const CharacterBpe>(
        CharacterBpe::from_scores(std::move(tokens), {.space = " ", .unknown = kUnknown}));
    if (!made->complete()) refuse("the tokens 3 to 258 are not all bytes (\"<0x00>\" to \"<0xFF>\")");
    parts.subwords = std::move(made);
  } catch (const Error& error) {
    refuse(error.what());
  }
  return parts;
}

}  // namespace athanor::model
