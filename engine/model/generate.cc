#include "engine/model/generate.h"

#include <algorithm>
#include <cmath>

#include "common/error.h"

namespace athanor::model {

void check(const GenerateOptions& options) {
  const auto refuse = [](const char* name, double value, const char* range) {
    throw Error(ErrorKind::kInvalid, "{} must be {}, not {}", name, range, value);
  };
  if (options.tokens < 0) refuse("tokens", static_cast<double>(options.tokens), "0 or more");
  if (!(options.temperature >= 0) || options.temperature > 100) refuse("temperature", options.temperature, "0 to 100");
  if (options.top_k < 0) refuse("top-k", static_cast<double>(options.top_k), "0 (all) or more");
  if (!(options.top_p > 0) || options.top_p > 1) refuse("top-p", options.top_p, "above 0 and at most 1");
}

Sampler::Sampler(const GenerateOptions& options) : options_(options), random_(options.seed) { check(options); }

TokenId Sampler::draw(std::span<const float> logits) {
  ATHANOR_ASSERT(!logits.empty());
  if (options_.temperature == 0) {
    return static_cast<TokenId>(std::max_element(logits.begin(), logits.end()) - logits.begin());
  }
  candidates_.clear();
  for (std::size_t i = 0; i < logits.size(); ++i) {
    if (!std::isnan(logits[i])) candidates_.emplace_back(logits[i], static_cast<TokenId>(i));
  }
  if (candidates_.empty()) {
    throw Error(ErrorKind::kInvalid, "the model's logits are not numbers: its weights are damaged or diverged in training");
  }
  // Likeliest first; equal ones by id, so that nothing depends on the sort.
  const auto likelier = [](const auto& a, const auto& b) {
    return a.first != b.first ? a.first > b.first : a.second < b.second;
  };
  std::size_t kept = candidates_.size();
  if (options_.top_k > 0) kept = std::min(kept, static_cast<std::size_t>(options_.top_k));
  std::partial_sort(candidates_.begin(), candidates_.begin() + static_cast<std::ptrdiff_t>(kept), candidates_.end(), likelier);
  candidates_.resize(kept);

  const double largest = candidates_.front().first;
  double sum = 0;
  std::vector<double> weights(kept);
  for (std::size_t i = 0; i < kept; ++i) {
    weights[i] = std::exp((static_cast<double>(candidates_[i].first) - largest) / options_.temperature);
    sum += weights[i];
  }
  if (options_.top_p < 1) {
    // The smallest set of the likeliest whose probability reaches top_p; the first is always in it.
    double reached = 0;
    std::size_t count = 0;
    while (count < kept && reached < options_.top_p * sum) reached += weights[count++];
    kept = std::max<std::size_t>(count, 1);
    sum = 0;
    for (std::size_t i = 0; i < kept; ++i) sum += weights[i];
  }
  double left = random_.uniform() * sum;
  for (std::size_t i = 0; i < kept; ++i) {
    left -= weights[i];
    if (left < 0) return candidates_[i].second;
  }
  return candidates_[kept - 1].second;  // rounding
}

GenerateEnd generate(CachedDecoder& decoder, std::span<const TokenId> prompt, std::int64_t vocabulary,
                     const GenerateOptions& options, const std::function<bool(TokenId)>& token) {
  Sampler sampler(options);
  if (prompt.empty()) throw Error(ErrorKind::kInvalid, "generating needs at least one token to start from");
  for (const TokenId id : prompt) {
    if (id < 0 || id >= vocabulary) {
      throw Error(ErrorKind::kInvalid, "the prompt has the token {}, but the model knows 0 to {}: tokenizer and model "
                  "do not belong together", id, vocabulary - 1);
    }
  }
  if (static_cast<std::int64_t>(prompt.size()) >= decoder.length_max()) {
    throw Error(ErrorKind::kInvalid, "the prompt has {} tokens, but the model's context is {}: shorten it", prompt.size(),
                decoder.length_max());
  }
  decoder.reset();
  std::span<const float> logits = decoder.step(prompt);
  for (std::int64_t made = 0; made < options.tokens; ++made) {
    const TokenId next = sampler.draw(logits);
    if (next == options.end_of_text) return GenerateEnd::kEndOfText;
    if (!token(next)) return GenerateEnd::kStopped;
    if (made + 1 == options.tokens) break;
    if (decoder.length() == decoder.length_max()) return GenerateEnd::kContextFull;
    logits = decoder.step({&next, 1});
  }
  return GenerateEnd::kTokens;
}

}  // namespace athanor::model
