// Many documents as one row of tokens with the places where they end: what packing works on, whatever holds them.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "engine/data/token_file.h"

namespace athanor::data {

// Any thread.
class Documents {
 public:
  virtual ~Documents() = default;
  virtual std::int64_t count() const = 0;
  // Document `index` is tokens [begin(index), end(index)).
  virtual std::int64_t end(std::int64_t index) const = 0;
  std::int64_t begin(std::int64_t index) const { return index == 0 ? 0 : end(index - 1); }
  // Tokens [first, first + into.size()), and those that are not in the loss as tensor::kNoTarget instead.
  virtual void read(std::int64_t first, std::span<std::int32_t> into) const = 0;
  virtual void read_targets(std::int64_t first, std::span<std::int32_t> into) const = 0;
  // Whether any of tokens [first, last) is in the loss.
  virtual bool learns(std::int64_t first, std::int64_t last) const = 0;
};

// A token file, cut after every `end_of_text`. All is in the loss. Reads the file once, to find the places.
class TokenDocuments final : public Documents {
 public:
  TokenDocuments(std::shared_ptr<const TokenFile> file, std::int32_t end_of_text);
  std::int64_t count() const override { return static_cast<std::int64_t>(ends_.size()); }
  std::int64_t end(std::int64_t index) const override { return ends_[static_cast<std::size_t>(index)]; }
  void read(std::int64_t first, std::span<std::int32_t> into) const override { file_->read(first, into); }
  void read_targets(std::int64_t first, std::span<std::int32_t> into) const override { file_->read(first, into); }
  bool learns(std::int64_t first, std::int64_t last) const override { return first < last; }

 private:
  const std::shared_ptr<const TokenFile> file_;
  std::vector<std::int64_t> ends_;
};

}  // namespace athanor::data
