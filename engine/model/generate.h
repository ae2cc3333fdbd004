// Generation: token after token from a decoder with a cache, each drawn from the distribution that the options shape.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "common/random.h"
#include "engine/model/decoder_cached.h"
#include "engine/model/tokenizer/bpe.h"

namespace athanor::model {

struct GenerateOptions {
  std::int64_t tokens = 128;           // at most so many new ones
  double temperature = 0.8;            // 0: always the likeliest
  std::int64_t top_k = 50;             // only the k likeliest; 0: all
  double top_p = 1.0;                  // only the likeliest that together have this probability
  double min_p = 0.0;                  // only those at least so likely as this part of the likeliest
  double repetition_penalty = 1.0;     // above 1: tokens that were there before become less likely
  std::uint64_t seed = 1;              // the same seed gives the same text
  std::optional<TokenId> end_of_text;  // ends the text; not part of what is returned
  std::vector<TokenId> other_ends;     // likewise
};

// Throws kInvalid, naming the option.
void check(const GenerateOptions& options);

struct Candidate {
  TokenId token = 0;
  double probability = 0;
};

// Draws tokens as transformers does: the logits of tokens that were there are divided by the repetition penalty, or
// multiplied where they are negative (Keskar et al., 2019); then come the temperature, top-k, top-p (Holtzman et al., 2020)
// and min-p (Nguyen et al., 2024), in this order.
class Sampler {
 public:
  explicit Sampler(const GenerateOptions& options);

  // Counts a token, of the prompt or a new one, as one that was there.
  void see(TokenId token);
  TokenId draw(std::span<const float> logits);
  // What draw() draws from, likeliest first; with the temperature 0 only the likeliest.
  std::span<const Candidate> distribution(std::span<const float> logits);

 private:
  const GenerateOptions options_;
  SeededRandom random_;
  std::vector<TokenId> seen_;     // each once, in order
  std::vector<float> penalized_;  // a copy of the logits, where they are changed
  std::vector<std::pair<float, TokenId>> sorted_;
  std::vector<Candidate> candidates_;
};

enum class GenerateEnd { kEndOfText, kTokens, kContextFull, kStopped };

// Continues every prompt (at least one token each, checked to lie in the vocabulary, fewer than the decoder's length_max);
// as many at a time as the decoder has sequences, the next as soon as one has ended. Calls `token` with each new one, which
// returns false to stop that text, and `ended` (if there is one) at each text's end. Prompt i draws with the seed
// options.seed + i, so that its text does not depend on the others but for rounding. The decoder is reset.
void generate(CachedDecoder& decoder, std::span<const std::vector<TokenId>> prompts, std::int64_t vocabulary,
              const GenerateOptions& options, const std::function<bool(std::size_t prompt, TokenId)>& token,
              const std::function<void(std::size_t prompt, GenerateEnd)>& ended = {});

// One prompt.
GenerateEnd generate(CachedDecoder& decoder, std::span<const TokenId> prompt, std::int64_t vocabulary,
                     const GenerateOptions& options, const std::function<bool(TokenId)>& token);

}  // namespace athanor::model
