// sentencepiece models (Kudo and Richardson, 2018), by the library of that name: BPE and unigram, their own
// normalization, prefix space and byte fallback. Broken UTF-8 in a text becomes U+FFFD, as the library has it.
//
// The library reads every model, and encodes with it. The kind that Llama-2 and Mistral ship, a BPE on text as it is,
// gives the same tokens by character_bpe.h, word by word and with its cache many times faster, and is encoded so.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engine/model/tokenizer/sentencepiece_model.h"
#include "engine/model/tokenizer/subwords.h"
#include "engine/model/tokenizer/tokenizer.h"

namespace sentencepiece {
class SentencePieceProcessor;
}

namespace athanor::model {

class SentencePiece : public Subwords {
 public:
  // `model`: the contents of a tokenizer.model. Throws kInvalid when it is none.
  explicit SentencePiece(std::string_view model);
  ~SentencePiece() override;

  TokenId id_end() const override { return static_cast<TokenId>(bytes_.size()); }
  bool has(TokenId id) const override { return id >= 0 && id < id_end(); }
  std::string_view bytes(TokenId id) const override { return bytes_[static_cast<std::size_t>(id)]; }
  void encode(std::string_view piece, std::vector<TokenId>& into) const override;

  const std::string& piece(TokenId id) const;
  // Control and unknown tokens: they stand for no text.
  bool controls(TokenId id) const;
  bool is_byte(TokenId id) const;
  float score(TokenId id) const;
  TokenId unknown() const;
  // -1 when the model has none.
  TokenId bos() const;
  TokenId eos() const;
  bool prefixes() const override { return prefixes_; }
  const SentencePieceModel& model() const { return model_; }

 private:
  void load(std::string_view model);

  SentencePieceModel model_;
  std::unique_ptr<sentencepiece::SentencePieceProcessor> processor_;
  std::vector<std::string> bytes_;  // by id
  bool prefixes_ = false;
};

// A tokenizer of the model alone: its control tokens are recognised in text, BOS goes before a text. `source` names it
// in errors. Throws kInvalid.
TokenizerParts tokenizer_parts_from_sentencepiece(std::string_view model, std::string_view source);

}  // namespace athanor::model
