// A long text as the windows that a model is evaluated in. Window k has the tokens [k · stride, k · stride + length); every
// token but a text's first is predicted exactly once, by the first window that reaches it. With a stride below the length
// it has at least length − stride tokens before it, or all that there are.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "engine/model/tokenizer/bpe.h"

namespace athanor::llm {

class Windows {
 public:
  // A window's tokens, at most `length`, and what follows each, or tensor::kNoTarget where another window predicts it.
  using Window = std::function<void(std::span<const model::TokenId> tokens, std::span<const std::int32_t> targets)>;

  // 1 ≤ stride ≤ length.
  Windows(std::int64_t length, std::int64_t stride, Window window);

  // More tokens of the text; windows are given away as soon as they are full.
  void add(std::span<const model::TokenId> tokens);
  // The text ends. The next begins anew.
  void end();

 private:
  void emit(std::size_t size);

  const std::size_t length_;
  const std::size_t stride_;
  const Window window_;
  std::vector<model::TokenId> tokens_;  // from the next window's first on
  std::vector<std::int32_t> targets_;
  std::size_t predicted_ = 1;  // of tokens_, those before it were predicted, or are the text's first
};

}  // namespace athanor::llm
