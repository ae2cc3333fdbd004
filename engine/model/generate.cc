#include "engine/model/generate.h"

#include <algorithm>
#include <cmath>

#include "common/error.h"

namespace athanor::model {

namespace {

// A text being written.
struct Text {
  std::size_t prompt = 0;
  Sampler sampler;
  std::int64_t made = 0;
  TokenId last = 0;
};

// The place of the largest logit, of the first of equal ones. What is not a number is passed over; throws when none is one.
std::size_t likeliest_of(std::span<const float> logits) {
  std::size_t likeliest = logits.size();
  for (std::size_t i = 0; i < logits.size(); ++i) {
    if (likeliest < logits.size() ? logits[i] > logits[likeliest] : !std::isnan(logits[i])) likeliest = i;
  }
  if (likeliest < logits.size()) return likeliest;
  throw Error(ErrorKind::kInvalid,
              "the model's logits are not numbers: its weights are damaged or diverged in training");
}

void check_prompt(std::span<const TokenId> prompt, std::int64_t vocabulary, std::int64_t length_max) {
  if (prompt.empty()) throw Error(ErrorKind::kInvalid, "generating needs at least one token to start from");
  for (const TokenId id : prompt) {
    if (id < 0 || id >= vocabulary) {
      throw Error(ErrorKind::kInvalid,
                  "the prompt has the token {}, but the model knows 0 to {}: tokenizer and model "
                  "do not belong together",
                  id, vocabulary - 1);
    }
  }
  if (static_cast<std::int64_t>(prompt.size()) >= length_max) {
    throw Error(ErrorKind::kInvalid, "the prompt has {} tokens, but the model's context is {}: shorten it",
                prompt.size(), length_max);
  }
}

}  // namespace

void check(const GenerateOptions& options) {
  const auto refuse = [](const char* name, double value, const char* range) {
    throw Error(ErrorKind::kInvalid, "{} must be {}, not {}", name, range, value);
  };
  if (options.tokens < 0) refuse("tokens", static_cast<double>(options.tokens), "0 or more");
  if (!(options.temperature >= 0) || options.temperature > 100) refuse("temperature", options.temperature, "0 to 100");
  if (options.top_k < 0) refuse("top-k", static_cast<double>(options.top_k), "0 (all) or more");
  if (!(options.top_p > 0) || options.top_p > 1) refuse("top-p", options.top_p, "above 0 and at most 1");
  if (!(options.min_p >= 0) || options.min_p > 1) refuse("min-p", options.min_p, "0 to 1");
  if (!(options.repetition_penalty > 0) || options.repetition_penalty > 100) {
    refuse("repetition-penalty", options.repetition_penalty, "above 0 (1: none) and at most 100");
  }
}

Sampler::Sampler(const GenerateOptions& options) : options_(options), random_(options.seed) { check(options); }

void Sampler::see(TokenId token) {
  const auto at = std::lower_bound(seen_.begin(), seen_.end(), token);
  if (at == seen_.end() || *at != token) seen_.insert(at, token);
}

std::span<const Candidate> Sampler::distribution(std::span<const float> logits) {
  ATHANOR_ASSERT(!logits.empty());
  if (options_.repetition_penalty != 1) {
    const auto penalty = static_cast<float>(options_.repetition_penalty);
    penalized_.assign(logits.begin(), logits.end());
    for (const TokenId token : seen_) {
      if (token < 0 || static_cast<std::size_t>(token) >= penalized_.size()) continue;
      float& logit = penalized_[static_cast<std::size_t>(token)];
      logit = logit < 0 ? logit * penalty : logit / penalty;
    }
    logits = penalized_;
  }
  candidates_.clear();
  const std::size_t likeliest = likeliest_of(logits);
  if (options_.temperature == 0) {
    candidates_.push_back({static_cast<TokenId>(likeliest), 1});
    return candidates_;
  }
  sorted_.clear();
  for (std::size_t i = 0; i < logits.size(); ++i) {
    if (!std::isnan(logits[i])) sorted_.emplace_back(logits[i], static_cast<TokenId>(i));
  }
  // Likeliest first; equal ones by id, so that nothing depends on the sort.
  const auto likelier = [](const auto& a, const auto& b) {
    return a.first != b.first ? a.first > b.first : a.second < b.second;
  };
  std::size_t kept = sorted_.size();
  if (options_.top_k > 0) kept = std::min(kept, static_cast<std::size_t>(options_.top_k));
  std::partial_sort(sorted_.begin(), sorted_.begin() + static_cast<std::ptrdiff_t>(kept), sorted_.end(), likelier);

  const double largest = logits[likeliest];
  double sum = 0;
  for (std::size_t i = 0; i < kept; ++i) {
    const double weight = std::exp((static_cast<double>(sorted_[i].first) - largest) / options_.temperature);
    candidates_.push_back({sorted_[i].second, weight});
    sum += weight;
  }
  if (options_.top_p < 1) {
    // The smallest set of the likeliest whose probability reaches top_p; the first is always in it.
    double reached = 0;
    std::size_t count = 0;
    while (count < kept && reached < options_.top_p * sum) reached += candidates_[count++].probability;
    kept = std::max<std::size_t>(count, 1);
  }
  while (kept > 1 && candidates_[kept - 1].probability < options_.min_p) --kept;  // the likeliest has the weight 1
  candidates_.resize(kept);
  sum = 0;
  for (const Candidate& candidate : candidates_) sum += candidate.probability;
  for (Candidate& candidate : candidates_) candidate.probability /= sum;
  return candidates_;
}

TokenId Sampler::draw(std::span<const float> logits) {
  const std::span<const Candidate> from = distribution(logits);
  if (from.size() == 1) return from.front().token;
  double left = random_.uniform();
  for (const Candidate& candidate : from) {
    left -= candidate.probability;
    if (left < 0) return candidate.token;
  }
  return from.back().token;  // rounding
}

void generate(CachedDecoder& decoder, std::span<const std::vector<TokenId>> prompts, std::int64_t vocabulary,
              const GenerateOptions& options, const std::function<bool(std::size_t, TokenId)>& token,
              const std::function<void(std::size_t, GenerateEnd)>& ended) {
  check(options);
  for (const std::vector<TokenId>& prompt : prompts) check_prompt(prompt, vocabulary, decoder.length_max());
  const auto ends_text = [&](TokenId next) {
    return next == options.end_of_text ||
           std::find(options.other_ends.begin(), options.other_ends.end(), next) != options.other_ends.end();
  };
  std::vector<std::optional<Text>> texts(static_cast<std::size_t>(decoder.sequences()));  // by sequence
  std::vector<CachedDecoder::Piece> pieces;
  std::size_t begun = 0;
  for (;;) {
    pieces.clear();
    for (std::size_t s = 0; s < texts.size(); ++s) {
      std::optional<Text>& text = texts[s];
      if (text) {
        pieces.push_back({static_cast<std::int64_t>(s), {&text->last, 1}});
        continue;
      }
      // With nothing to write, the prompt need not be read.
      while (options.tokens == 0 && begun < prompts.size()) {
        if (ended) ended(begun, GenerateEnd::kTokens);
        ++begun;
      }
      if (begun == prompts.size()) continue;
      GenerateOptions own = options;
      own.seed += begun;
      text.emplace(Text{.prompt = begun, .sampler = Sampler(own)});
      for (const TokenId id : prompts[begun]) text->sampler.see(id);
      decoder.reset(static_cast<std::int64_t>(s));
      pieces.push_back({static_cast<std::int64_t>(s), prompts[begun++]});
    }
    if (pieces.empty()) return;
    const tensor::Tensor logits = decoder.step(pieces);
    for (std::size_t p = 0; p < pieces.size(); ++p) {
      std::optional<Text>& text = texts[static_cast<std::size_t>(pieces[p].sequence)];
      const auto row = static_cast<std::int64_t>(p);
      const TokenId next = text->sampler.draw(logits.rows(row, row + 1).floats());
      std::optional<GenerateEnd> end;
      if (ends_text(next)) {
        end = GenerateEnd::kEndOfText;
      } else if (!token(text->prompt, next)) {
        end = GenerateEnd::kStopped;
      } else if (++text->made == options.tokens) {
        end = GenerateEnd::kTokens;
      } else if (decoder.length(pieces[p].sequence) == decoder.length_max()) {
        end = GenerateEnd::kContextFull;
      }
      text->last = next;
      text->sampler.see(next);
      if (!end) continue;
      const std::size_t prompt = text->prompt;
      text.reset();
      if (ended) ended(prompt, *end);
    }
  }
}

GenerateEnd generate(CachedDecoder& decoder, std::span<const TokenId> prompt, std::int64_t vocabulary,
                     const GenerateOptions& options, const std::function<bool(TokenId)>& token) {
  const std::vector<TokenId> only(prompt.begin(), prompt.end());
  GenerateEnd found = GenerateEnd::kTokens;
  generate(
      decoder, {&only, 1}, vocabulary, options, [&](std::size_t, TokenId next) { return token(next); },
      [&](std::size_t, GenerateEnd end) { found = end; });
  return found;
}

}  // namespace athanor::model
