#include "engine/data/documents.h"

#include <algorithm>

#include "common/error.h"

namespace athanor::data {

TokenDocuments::TokenDocuments(std::shared_ptr<const TokenFile> file, std::int32_t end_of_text)
    : file_(std::move(file)) {
  ATHANOR_ASSERT(file_);
  std::vector<std::int32_t> piece(1 << 16);
  for (std::int64_t first = 0; first < file_->count();) {
    const auto size = std::min(static_cast<std::int64_t>(piece.size()), file_->count() - first);
    const std::span<std::int32_t> ids = std::span(piece).first(static_cast<std::size_t>(size));
    file_->read(first, ids);
    for (auto at = ids.begin(); (at = std::find(at, ids.end(), end_of_text)) != ids.end();) {
      ends_.push_back(first + (++at - ids.begin()));
    }
    first += size;
  }
  if (const std::int64_t last = ends_.empty() ? 0 : ends_.back(); last < file_->count()) {
    ends_.push_back(file_->count());
  }
}

}  // namespace athanor::data
