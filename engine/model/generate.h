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
  std::int64_t tokens = 128;          // at most so many new ones
  double temperature = 0.8;           // 0: always the likeliest
  std::int64_t top_k = 50;            // only the k likeliest; 0: all
  double top_p = 1.0;                 // only the likeliest that together have this probability
  std::uint64_t seed = 1;             // the same seed gives the same text
  std::optional<TokenId> end_of_text;  // ends the text; not part of what is returned
};

// Throws kInvalid, naming the option.
void check(const GenerateOptions& options);

// Draws one token: logits / temperature, then top-k, then top-p (Holtzman et al., 2020), as transformers does.
class Sampler {
 public:
  explicit Sampler(const GenerateOptions& options);
  TokenId draw(std::span<const float> logits);

 private:
  const GenerateOptions options_;
  SeededRandom random_;
  std::vector<std::pair<float, TokenId>> candidates_;
};

enum class GenerateEnd { kEndOfText, kTokens, kContextFull, kStopped };

// Continues `prompt` (at least one token, checked to lie in the vocabulary, fewer than the decoder's length_max), which
// goes through the decoder first. Calls `token` with each new one; it returns false to stop. The decoder is reset.
GenerateEnd generate(CachedDecoder& decoder, std::span<const TokenId> prompt, std::int64_t vocabulary,
                     const GenerateOptions& options, const std::function<bool(TokenId)>& token);

}  // namespace athanor::model
