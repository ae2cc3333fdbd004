// Text to token ids and back. A tokenizer is a row of steps, as Hugging Face describes them: added tokens are found, what
// lies between is normalized, cut into pieces, and each piece becomes tokens of the vocabulary (subwords.h). Whatever
// the bytes, decode(encode(text)) == text, unless the tokenizer normalizes, adds a prefix space, or is a sentencepiece
// model (which replaces broken UTF-8).
//
// A Tokenizer is immutable, cheap to copy, and shared by threads. An Encoder belongs to one thread and remembers pieces
// that it has met, which makes it several times faster on long texts.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "engine/model/tokenizer/added_tokens.h"
#include "engine/model/tokenizer/bpe.h"
#include "engine/model/tokenizer/normalizer.h"
#include "engine/model/tokenizer/pretokenizer.h"
#include "engine/model/tokenizer/subwords.h"

namespace athanor::model {

// Ends a document, in training and in generation.
inline constexpr std::string_view kEndOfText = "<|endoftext|>";

// The files that a tokenizer was read from, by name ("tokenizer.json"), so that saving gives them back byte for byte.
using TokenizerFiles = std::map<std::string, std::string>;

struct TokenizerParts {
  std::shared_ptr<const Subwords> subwords;
  Normalizer normalizer;
  PreTokenizer pretokenizer;
  std::vector<AddedToken> added;
  // What the checkpoint wants around a text: encode() adds it when asked to.
  std::vector<TokenId> before, after;
  // A text starts with a space that is not its own; decode() takes it away again.
  bool strip_first_space = false;
  // The tokens that tokenizer_config.json or GGUF name. Empty when they name none.
  std::string bos, eos;
  // The other special tokens that tokenizer_config.json names, by its names ("pad_token"): templates may write them.
  std::map<std::string, std::string> named_tokens;
  // As the checkpoint ships it (chat_templates.h); empty when it has none.
  std::string chat_template;
  // Its others, by name ("tool_use").
  std::map<std::string, std::string> named_templates;
  TokenizerFiles files;
};

struct EncodeOptions {
  bool with_specials = false;  // what the checkpoint wants around a text (BOS, EOS)
  // "<|im_end|>" in the text is that token; false: it is text like any other, and only added tokens that are not special
  // are found.
  bool specials_in_text = true;
  bool continues = false;  // the text goes on from one that was cut at a safe_cut(): nothing is put in front
};

class Tokenizer {
 public:
  // Throws kInvalid.
  explicit Tokenizer(TokenizerParts parts);
  Tokenizer(Bpe bpe, PreTokenizer pretokenizer, std::vector<AddedToken> added);

  // One more than the largest id: what a model's vocab_size must be at least.
  std::int64_t vocabulary() const;
  // Nothing when there is no such token.
  std::optional<TokenId> find_added(std::string_view content) const;
  // The token that ends a document: kEndOfText, or another of the names in common use, or eos(). Nothing when there is
  // none.
  std::optional<TokenId> end_of_text() const;
  // The tokens that the checkpoint names for the start and the end of a text or an answer.
  std::optional<TokenId> bos() const { return find_added(parts().bos); }
  std::optional<TokenId> eos() const { return find_added(parts().eos); }

  std::vector<TokenId> encode(std::string_view text, const EncodeOptions& options = {}) const;
  // The bytes of tokens; they may end, or be broken, anywhere: see Utf8Stream and utf8_repaired(). Throws kInvalid for
  // ids that no token has.
  std::string decode(std::span<const TokenId> tokens, bool with_specials = false) const;
  // The bytes of one token; empty for a special token or a hole in the vocabulary.
  std::string_view bytes(TokenId token) const;

  const TokenizerParts& parts() const;
  const Subwords& subwords() const { return *parts().subwords; }
  // Only of a byte-level BPE.
  const Bpe& bpe() const;
  const PreTokenizer& pretokenizer() const { return parts().pretokenizer; }
  const std::vector<AddedToken>& added() const { return parts().added; }
  // Whether decode() gives back any text byte for byte.
  bool lossless() const;

 private:
  friend class Encoder;
  struct Compiled;
  const AddedToken* added_by_id(TokenId id) const;

  std::shared_ptr<const Compiled> compiled_;
};

class Encoder {
 public:
  explicit Encoder(const Tokenizer& tokenizer);
  ~Encoder();
  // Appends the tokens of `text`.
  void encode(std::string_view text, std::vector<TokenId>& into, const EncodeOptions& options = {});

 private:
  struct Entry;
  void encode_part(std::string_view text, PreTokenizer::Place place, bool specials_in_text, std::vector<TokenId>& into);
  void encode_piece(std::string_view piece, std::vector<TokenId>& into);

  const std::shared_ptr<const Tokenizer::Compiled> tokenizer_;
  PreTokenizer::Scratch scratch_;
  std::vector<Entry> cache_;  // a piece's place is given by its hash; a newcomer replaces what was there
};

// Where a long text of UTF-8 may be cut so that the tokens of both sides are those of the whole, for the pre-tokenizers in
// use and added tokens that have no spaces or are written <like this>: a place at or before `limit`, or 0 when none is sure.
// The second side `continues`.
std::size_t safe_cut(std::string_view text, std::size_t limit);

}  // namespace athanor::model
