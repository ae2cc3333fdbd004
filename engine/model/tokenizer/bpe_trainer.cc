#include "engine/model/tokenizer/bpe_trainer.h"

#include <algorithm>
#include <queue>
#include <unordered_set>

#include "common/error.h"
#include "engine/model/tokenizer/byte_alphabet.h"

namespace athanor::model {

namespace {

constexpr std::size_t kWordBytesMax = 256;  // longer pieces are no words; they would only slow the counting down

struct Word {
  std::vector<TokenId> tokens;
  std::int64_t count;
};

using Pair = std::uint64_t;  // left << 32 | right
Pair pair_of(TokenId left, TokenId right) {
  return static_cast<Pair>(static_cast<std::uint32_t>(left)) << 32 | static_cast<std::uint32_t>(right);
}

struct PairState {
  std::int64_t count = 0;
  std::vector<std::uint32_t> words;  // where it occurs, or did; may repeat
};

struct Candidate {
  std::int64_t count;
  Pair pair;
  // The largest count first; of equals the smallest ids.
  bool operator<(const Candidate& other) const {
    return count != other.count ? count < other.count : pair > other.pair;
  }
};

// The state of the counting while pairs are merged.
class Merger {
 public:
  explicit Merger(std::vector<Word> words) : words_(std::move(words)) {
    for (std::size_t w = 0; w < words_.size(); ++w) {
      const Word& word = words_[w];
      for (std::size_t i = 0; i + 1 < word.tokens.size(); ++i) {
        change(pair_of(word.tokens[i], word.tokens[i + 1]), word.count, w);
      }
    }
    for (const auto& [pair, state] : pairs_) queue_.push({state.count, pair});
  }

  // The most frequent pair, if it occurs at least `least` times.
  bool next(std::int64_t least, Pair& pair) {
    while (!queue_.empty()) {
      const Candidate top = queue_.top();
      queue_.pop();
      const std::int64_t now = pairs_.at(top.pair).count;
      if (now == top.count) {
        if (now < least) return false;
        pair = top.pair;
        return true;
      }
      if (now > 0 && now < top.count) queue_.push({now, top.pair});  // out of date: its turn comes later
    }
    return false;
  }

  void merge(Pair pair, TokenId result) {
    const auto left = static_cast<TokenId>(pair >> 32);
    const auto right = static_cast<TokenId>(pair & 0xffffffff);
    std::vector<std::uint32_t> where = std::move(pairs_.at(pair).words);
    std::sort(where.begin(), where.end());
    where.erase(std::unique(where.begin(), where.end()), where.end());
    touched_.clear();
    for (const std::uint32_t w : where) merge_in_word(w, left, right, result);
    pairs_.at(pair).count = 0;
    // Only counts that grew need an entry of their own; those that shrank are corrected when they come up.
    std::sort(touched_.begin(), touched_.end());
    touched_.erase(std::unique(touched_.begin(), touched_.end()), touched_.end());
    for (const Pair grown : touched_) {
      const std::int64_t count = pairs_.at(grown).count;
      if (count > 0) queue_.push({count, grown});
    }
  }

 private:
  void change(Pair pair, std::int64_t by, std::size_t word) {
    PairState& state = pairs_[pair];
    state.count += by;
    if (by > 0) state.words.push_back(static_cast<std::uint32_t>(word));
  }

  void merge_in_word(std::uint32_t w, TokenId left, TokenId right, TokenId result) {
    Word& word = words_[w];
    std::vector<TokenId>& tokens = word.tokens;
    std::size_t out = 0;
    for (std::size_t i = 0; i < tokens.size();) {
      if (i + 1 < tokens.size() && tokens[i] == left && tokens[i + 1] == right) {
        if (out > 0) {
          change(pair_of(tokens[out - 1], left), -word.count, w);
          change(pair_of(tokens[out - 1], result), word.count, w);
          touched_.push_back(pair_of(tokens[out - 1], result));
        }
        if (i + 2 < tokens.size()) {
          // What follows may be merged next: then the pair counted here is taken back by that merge as its left side.
          change(pair_of(right, tokens[i + 2]), -word.count, w);
          change(pair_of(result, tokens[i + 2]), word.count, w);
          touched_.push_back(pair_of(result, tokens[i + 2]));
        }
        tokens[out++] = result;
        i += 2;
      } else {
        tokens[out++] = tokens[i++];
      }
    }
    tokens.resize(out);
  }

  std::vector<Word> words_;
  std::unordered_map<Pair, PairState> pairs_;
  std::priority_queue<Candidate> queue_;
  std::vector<Pair> touched_;
};

}  // namespace

void BpeTrainer::feed(std::string_view text, const std::vector<std::string>& specials) {
  std::vector<AddedTokenMatcher::Entry> entries;
  for (const std::string& special : specials) entries.push_back({.content = special});
  AddedTokenMatcher(std::move(entries)).for_each_part(text, [&](std::string_view part, int special) {
    if (special >= 0) return;
    pretokenizer_.split(part, [&](std::string_view piece) {
      if (piece.size() > kWordBytesMax) return;
      const auto found = counts_.find(piece);
      if (found != counts_.end()) {
        ++found->second;
      } else {
        words_.emplace_back(piece);
        counts_.emplace(words_.back(), 1);
      }
    });
  });
}

Tokenizer BpeTrainer::train(const BpeTrainerOptions& options) const {
  const auto specials = static_cast<std::int64_t>(options.specials.size());
  if (options.vocabulary < 256 + specials || options.vocabulary > Bpe::kIdMax) {
    throw Error(ErrorKind::kInvalid,
                "a vocabulary of {} tokens is not possible: it must be {} to {} (all bytes, and {} "
                "special tokens)",
                options.vocabulary, 256 + specials, Bpe::kIdMax, specials);
  }

  // Ids of single bytes: in the order of their characters in GPT-2's alphabet.
  std::vector<std::pair<char32_t, int>> order;
  for (int byte = 0; byte < 256; ++byte) order.emplace_back(byte_characters()[static_cast<std::size_t>(byte)], byte);
  std::sort(order.begin(), order.end());
  std::vector<std::pair<std::string, TokenId>> vocabulary;
  std::array<TokenId, 256> of_byte{};
  for (const auto& [character, byte] : order) {
    of_byte[static_cast<std::size_t>(byte)] = static_cast<TokenId>(vocabulary.size());
    vocabulary.emplace_back(std::string(1, static_cast<char>(byte)), static_cast<TokenId>(vocabulary.size()));
  }

  // In the order of the words, not of the hash table, so that nothing depends on it.
  std::vector<std::pair<std::string_view, std::int64_t>> sorted(counts_.begin(), counts_.end());
  std::sort(sorted.begin(), sorted.end());
  std::vector<Word> words;
  words.reserve(sorted.size());
  for (const auto& [text, count] : sorted) {
    Word word{{}, count};
    for (const char byte : text) word.tokens.push_back(of_byte[static_cast<unsigned char>(byte)]);
    words.push_back(std::move(word));
  }

  Merger merger(std::move(words));
  std::vector<std::pair<TokenId, TokenId>> merges;
  std::unordered_set<Pair> merged;
  std::unordered_map<std::string, TokenId> known;
  for (const auto& [bytes, id] : vocabulary) known.emplace(bytes, id);
  Pair pair = 0;
  while (static_cast<std::int64_t>(vocabulary.size()) + specials < options.vocabulary &&
         merger.next(std::max<std::int64_t>(options.frequency_min, 1), pair)) {
    const auto left = static_cast<TokenId>(pair >> 32);
    const auto right = static_cast<TokenId>(pair & 0xffffffff);
    std::string bytes =
        vocabulary[static_cast<std::size_t>(left)].first + vocabulary[static_cast<std::size_t>(right)].first;
    // Two different pairs can spell the same token ("a"+"bc", "ab"+"c"): it keeps its first id.
    const auto [entry, fresh] = known.emplace(bytes, static_cast<TokenId>(vocabulary.size()));
    if (fresh) vocabulary.emplace_back(std::move(bytes), entry->second);
    // Such a token can bring a pair back that was merged before: it is merged again, by the rule that exists.
    if (merged.insert(pair).second) merges.emplace_back(left, right);
    merger.merge(pair, entry->second);
  }

  std::vector<AddedToken> added;
  for (const std::string& special : options.specials) {
    added.push_back({special, static_cast<TokenId>(vocabulary.size() + added.size()), true});
  }
  return Tokenizer(Bpe(vocabulary, std::move(merges), false), pretokenizer_, std::move(added));
}

}  // namespace athanor::model
