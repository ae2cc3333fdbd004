// Learns a byte-level BPE from text: again and again, the most frequent pair of neighbours becomes a token.
//
//   BpeTrainer trainer(PreTokenizer::gpt2());
//   for (…) trainer.feed(text);
//   Tokenizer tokenizer = trainer.train({.vocabulary = 4096});
//
// Deterministic: the same texts give the same tokenizer, in whatever order they come; among equally frequent pairs the
// one of smaller ids wins. Counts of pairs are kept up to date merge by merge, so that the time goes with the number of
// different words, not with the length of the text. One thread.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "engine/model/tokenizer/pretokenizer.h"
#include "engine/model/tokenizer/tokenizer.h"

namespace athanor::model {

struct BpeTrainerOptions {
  std::int64_t vocabulary = 4096;  // all tokens: 256 bytes, merges, specials. Fewer when the text has no more pairs.
  std::int64_t frequency_min = 2;  // of a pair that becomes a token
  std::vector<std::string> specials{std::string(kEndOfText)};
};

class BpeTrainer {
 public:
  explicit BpeTrainer(PreTokenizer pretokenizer) : pretokenizer_(std::move(pretokenizer)) {}

  // Counts the pieces of a text. Special tokens in it are none of its words.
  void feed(std::string_view text, const std::vector<std::string>& specials = {std::string(kEndOfText)});
  // Throws kInvalid when `vocabulary` does not even hold the bytes and the specials.
  Tokenizer train(const BpeTrainerOptions& options) const;

 private:
  PreTokenizer pretokenizer_;
  std::deque<std::string> words_;  // what counts_ views
  std::unordered_map<std::string_view, std::int64_t> counts_;
};

}  // namespace athanor::model
