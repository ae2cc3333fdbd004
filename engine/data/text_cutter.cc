#include "engine/data/text_cutter.h"

#include <algorithm>
#include <utility>

#include "common/error.h"

namespace athanor::data {

TextCutter::TextCutter(std::int64_t length, DocumentSink into)
    : tokens_max_(static_cast<std::size_t>(length) + 1), into_(std::move(into)) {
  ATHANOR_ASSERT(length >= 1);
}

void TextCutter::append(std::span<const std::int32_t> tokens) {
  std::vector<std::int32_t>& held = document_.tokens;
  while (!tokens.empty()) {
    const std::size_t taken = std::min(tokens.size(), tokens_max_ - held.size());
    held.insert(held.end(), tokens.begin(), tokens.begin() + static_cast<std::ptrdiff_t>(taken));
    tokens = tokens.subspan(taken);
    if (held.size() == tokens_max_) give();
  }
}

void TextCutter::give() {
  into_(std::span(&document_, 1));
  document_.tokens = {document_.tokens.back()};
}

void TextCutter::finish() {
  if (document_.tokens.size() > 1) give();
  document_.tokens.clear();
}

}  // namespace athanor::data
