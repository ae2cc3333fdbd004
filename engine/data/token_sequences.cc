#include "engine/data/token_sequences.h"

#include <algorithm>
#include <bit>

#include "common/error.h"
#include "common/random.h"

namespace athanor::data {

namespace {

// One number from two, well mixed.
std::uint64_t mixed(std::uint64_t a, std::uint64_t b) {
  SeededRandom random(a);
  random.set_state(random.next() ^ b);
  return random.next();
}

}  // namespace

std::uint64_t permuted(std::uint64_t index, std::uint64_t count, std::uint64_t key) {
  ATHANOR_ASSERT(index < count && count <= std::uint64_t{1} << 62);
  // Two halves of `half` bits each; at least one bit, so that there is something to mix.
  const int half = std::max(1, (static_cast<int>(std::bit_width(count - 1)) + 1) / 2);
  const std::uint64_t mask = (std::uint64_t{1} << half) - 1;
  do {  // fewer than four values lie beyond `count` for each below it, so this ends soon
    std::uint64_t left = index >> half, right = index & mask;
    for (std::uint64_t round = 0; round < 4; ++round) {
      const std::uint64_t next = left ^ (mixed(key + round, right) & mask);
      left = right;
      right = next;
    }
    index = left << half | right;
  } while (index >= count);
  return index;
}

TokenSequences::TokenSequences(std::shared_ptr<const TokenFile> train, std::shared_ptr<const TokenFile> held_out,
                               const TokenSequencesOptions& options)
    : train_(std::move(train)), held_out_(std::move(held_out)), options_(options) {
  ATHANOR_ASSERT(train_ && options_.length > 0 && options_.batch > 0);
  windows_ = (train_->count() - 1) / options_.length;
  if (train_->count() < options_.length + 1) {
    throw Error(ErrorKind::kInvalid,
                "The training text has {} tokens, and one sequence takes length + 1 = {}: give more text or a smaller "
                "length",
                train_->count(), options_.length + 1);
  }
}

void TokenSequences::training(std::int64_t step, std::int64_t index, std::span<std::int32_t> tokens) {
  ATHANOR_ASSERT(step >= 1 && index >= 0 && index < options_.batch);
  ATHANOR_ASSERT(static_cast<std::int64_t>(tokens.size()) == options_.length + 1);
  const std::int64_t number = (step - 1) * options_.batch + index;
  const auto key = mixed(options_.seed, static_cast<std::uint64_t>(number / windows_));
  const auto slack = static_cast<std::uint64_t>((train_->count() - 1) % options_.length);
  const auto offset = static_cast<std::int64_t>(mixed(key, 0) % (slack + 1));
  const auto window = static_cast<std::int64_t>(
      permuted(static_cast<std::uint64_t>(number % windows_), static_cast<std::uint64_t>(windows_), key));
  train_->read(offset + window * options_.length, tokens);
}

std::int64_t TokenSequences::evaluation_count(std::int64_t length) {
  return held_out_ && held_out_->count() > 0 ? (held_out_->count() - 1) / length : 0;
}

void TokenSequences::evaluation(std::int64_t index, std::span<std::int32_t> tokens) {
  const auto length = static_cast<std::int64_t>(tokens.size()) - 1;
  ATHANOR_ASSERT(index >= 0 && index < evaluation_count(length));
  held_out_->read(index * length, tokens);
}

}  // namespace athanor::data
