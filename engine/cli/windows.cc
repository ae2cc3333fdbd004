#include "engine/cli/windows.h"

#include <algorithm>
#include <utility>

#include "common/error.h"
#include "engine/tensor/cross_entropy.h"

namespace athanor::llm {

Windows::Windows(std::int64_t length, std::int64_t stride, Window window)
    : length_(static_cast<std::size_t>(length)), stride_(static_cast<std::size_t>(stride)), window_(std::move(window)) {
  ATHANOR_ASSERT(1 <= stride && stride <= length);
}

void Windows::add(std::span<const model::TokenId> tokens) {
  tokens_.insert(tokens_.end(), tokens.begin(), tokens.end());
  std::size_t begin = 0;
  // A full window needs the token after it too.
  const std::vector<model::TokenId> all = std::exchange(tokens_, {});
  for (; begin + length_ < all.size(); begin += stride_) {
    tokens_.assign(all.begin() + static_cast<std::ptrdiff_t>(begin),
                   all.begin() + static_cast<std::ptrdiff_t>(begin + length_ + 1));
    emit(length_);
    predicted_ = length_ + 1 - stride_;
  }
  tokens_.assign(all.begin() + static_cast<std::ptrdiff_t>(begin), all.end());
}

void Windows::end() {
  if (tokens_.size() > predicted_) emit(tokens_.size() - 1);
  tokens_.clear();
  predicted_ = 1;
}

void Windows::emit(std::size_t size) {
  targets_.resize(size);
  for (std::size_t i = 0; i < size; ++i) targets_[i] = i + 1 >= predicted_ ? tokens_[i + 1] : tensor::kNoTarget;
  window_(std::span(tokens_).first(size), targets_);
}

}  // namespace athanor::llm
