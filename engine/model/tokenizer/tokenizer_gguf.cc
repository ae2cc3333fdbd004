#include "engine/model/tokenizer/tokenizer_gguf.h"

#include <algorithm>
#include <unordered_map>

#include "common/error.h"
#include "engine/model/tokenizer/byte_alphabet.h"
#include "engine/model/tokenizer/character_bpe.h"

namespace athanor::model {

namespace {

enum Type : std::int32_t { kText = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };

// What each name stands for: the patterns of the checkpoint's own tokenizer.json.
struct Cut {
  std::vector<std::string> patterns;
  bool whole_pieces_first = false;
  bool nfc = false;
};

constexpr const char* kDigit = R"(\p{N})";
constexpr const char* kLlama3 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kQwen2 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

Cut cut_of(const std::string& pre) {
  if (pre == "gpt-2" || pre == "gpt2") return {{kGpt2Pattern}};
  if (pre == "smollm") return {{kDigit, kGpt2Pattern}};
  if (pre == "llama-bpe" || pre == "llama3" || pre == "llama-v3") return {{kLlama3}, true};
  if (pre == "qwen2") return {{kQwen2}, false, true};
  throw Error(
      ErrorKind::kInvalid,
      "the GGUF file's tokenizer cuts text in a way called \"{}\" (tokenizer.ggml.pre), which is not known; known are "
      "gpt-2, smollm, llama-bpe and qwen2. Give the tokenizer.json of the model instead",
      pre.empty() ? "(nothing)" : pre);
}

std::int32_t type_of(const GgufTokenizer& gguf, std::size_t i) { return gguf.types.empty() ? kText : gguf.types[i]; }

std::shared_ptr<const Subwords> byte_bpe(const GgufTokenizer& gguf, bool whole_pieces_first) {
  std::vector<std::pair<std::string, TokenId>> vocabulary;
  std::unordered_map<std::string_view, TokenId> ids;
  for (std::size_t i = 0; i < gguf.tokens.size(); ++i) {
    if (type_of(gguf, i) != kText) continue;
    auto bytes = alphabet_to_bytes(gguf.tokens[i]);
    if (!bytes) {
      throw Error(ErrorKind::kInvalid, "the GGUF file's token {} (\"{}\") is not written in the byte alphabet", i,
                  gguf.tokens[i]);
    }
    ids.emplace(gguf.tokens[i], static_cast<TokenId>(i));
    vocabulary.emplace_back(std::move(*bytes), static_cast<TokenId>(i));
  }
  std::vector<std::pair<TokenId, TokenId>> merges;
  for (const std::string& merge : gguf.merges) {
    const std::size_t space = merge.find(' ');
    const auto left = ids.find(std::string_view(merge).substr(0, std::min(space, merge.size())));
    const auto right = ids.find(std::string_view(merge).substr(std::min(space, merge.size() - 1) + 1));
    if (space == std::string::npos || left == ids.end() || right == ids.end()) {
      throw Error(ErrorKind::kInvalid, "the GGUF file's merge \"{}\" does not join two of its tokens", merge);
    }
    merges.emplace_back(left->second, right->second);
  }
  if (merges.empty()) {
    throw Error(ErrorKind::kInvalid, "the GGUF file's tokenizer has no merges (tokenizer.ggml.merges)");
  }
  return std::make_shared<const Bpe>(vocabulary, std::move(merges), whole_pieces_first);
}

std::shared_ptr<const Subwords> character_bpe(const GgufTokenizer& gguf) {
  if (gguf.scores.size() != gguf.tokens.size()) {
    throw Error(ErrorKind::kInvalid, "the GGUF file has {} tokens and {} scores", gguf.tokens.size(),
                gguf.scores.size());
  }
  using Kind = CharacterBpe::Kind;
  std::vector<CharacterBpe::Token> tokens;
  CharacterBpe::Options options;
  for (std::size_t i = 0; i < gguf.tokens.size(); ++i) {
    const std::int32_t type = type_of(gguf, i);
    const auto id = static_cast<TokenId>(i);
    if (type == kUnknown && !options.unknown) options.unknown = id;
    const Kind kind = type == kByte     ? Kind::kByte
                      : type == kText   ? Kind::kText
                      : type == kUnused ? Kind::kUnused
                                        : Kind::kControl;
    if (!gguf.tokens[i].empty()) tokens.push_back({gguf.tokens[i], id, kind, gguf.scores[i]});
  }
  if (const CharacterBpe::Token* token = CharacterBpe::out_of_reach(tokens)) {
    throw Error(ErrorKind::kInvalid,
                "the GGUF file's token {} (\"{}\") has a character that is no token, which is not supported. Give the "
                "tokenizer.model of the model instead",
                token->id, token->piece);
  }
  return std::make_shared<const CharacterBpe>(CharacterBpe::from_scores(std::move(tokens), options));
}

}  // namespace

TokenizerParts tokenizer_parts_from_gguf(const GgufTokenizer& gguf) {
  if (gguf.tokens.empty()) throw Error(ErrorKind::kInvalid, "the GGUF file has no tokens (tokenizer.ggml.tokens)");
  if (gguf.tokens.size() > static_cast<std::size_t>(kTokenIdMax)) {
    throw Error(ErrorKind::kInvalid, "the GGUF file has {} tokens; at most {} are possible", gguf.tokens.size(),
                kTokenIdMax);
  }
  if (!gguf.types.empty() && gguf.types.size() != gguf.tokens.size()) {
    throw Error(ErrorKind::kInvalid, "the GGUF file has {} tokens and {} token types", gguf.tokens.size(),
                gguf.types.size());
  }
  TokenizerParts parts;
  const bool on_bytes = gguf.model == "gpt2";
  if (on_bytes) {
    const Cut cut = cut_of(gguf.pre);
    parts.subwords = byte_bpe(gguf, cut.whole_pieces_first);
    parts.pretokenizer = PreTokenizer::isolating(cut.patterns, gguf.add_space_prefix.value_or(false));
    if (cut.nfc) parts.normalizer = Normalizer({{.kind = NormalizerStep::Kind::kNfc}});
  } else if (gguf.model == "llama") {
    parts.subwords = character_bpe(gguf);
    std::vector<NormalizerStep> steps;
    const bool prefix = gguf.add_space_prefix.value_or(true);
    if (prefix) steps.push_back({.kind = NormalizerStep::Kind::kPrepend, .text = std::string(kMetaspace)});
    steps.push_back({.kind = NormalizerStep::Kind::kReplace, .text = std::string(kMetaspace), .from = " "});
    parts.normalizer = Normalizer(std::move(steps));
    parts.strip_first_space = prefix;
  } else {
    throw Error(ErrorKind::kInvalid,
                "the GGUF file's tokenizer is of the kind \"{}\" (tokenizer.ggml.model); supported are gpt2 and llama. "
                "Give the tokenizer.json or tokenizer.model of the model instead",
                gguf.model);
  }
  for (std::size_t i = 0; i < gguf.tokens.size(); ++i) {
    const std::int32_t type = type_of(gguf, i);
    if (gguf.tokens[i].empty() || (type != kControl && type != kUserDefined && type != kUnknown)) continue;
    parts.added.push_back({.content = gguf.tokens[i], .id = static_cast<TokenId>(i), .special = type != kUserDefined});
  }
  const auto named = [&](std::optional<std::int64_t> id, const char* what) -> std::string {
    if (!id) return "";
    const bool known =
        std::any_of(parts.added.begin(), parts.added.end(), [&](const AddedToken& token) { return token.id == *id; });
    if (*id < 0 || *id >= static_cast<std::int64_t>(gguf.tokens.size())) {
      throw Error(ErrorKind::kInvalid, "the GGUF file's {} token has the id {}, which no token has", what, *id);
    }
    // A file without types, or with a wrong one: what it names is special.
    if (!known) {
      parts.added.push_back({.content = gguf.tokens[static_cast<std::size_t>(*id)], .id = static_cast<TokenId>(*id)});
    }
    return gguf.tokens[static_cast<std::size_t>(*id)];
  };
  parts.bos = named(gguf.bos_token_id, "BOS");
  parts.eos = named(gguf.eos_token_id, "EOS");
  if (gguf.bos_token_id && gguf.add_bos_token.value_or(!on_bytes || gguf.pre == "llama-bpe")) {
    parts.before = {static_cast<TokenId>(*gguf.bos_token_id)};
  }
  if (gguf.eos_token_id && gguf.add_eos_token.value_or(false)) parts.after = {static_cast<TokenId>(*gguf.eos_token_id)};
  parts.chat_template = gguf.chat_template;
  parts.named_templates = gguf.named_templates;
  return parts;
}

}  // namespace athanor::model
