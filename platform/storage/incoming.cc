#include "platform/storage/incoming.h"

#include <algorithm>

namespace athanor::storage {

namespace {

// How much gathers before the device is told to begin.
constexpr std::uint64_t kAnnounceBytes = 8 << 20;
// A part is not put so far out that a file system may refuse the offset.
constexpr std::uint64_t kOffsetMax = std::uint64_t{1} << 42;

}  // namespace

BodyHashes::BodyHashes(const std::vector<ChecksumAlgorithm>& algorithms) : md5_hasher_("MD5") {
  hashers_.emplace_back(ChecksumAlgorithm::kCrc64Nvme);
  for (const ChecksumAlgorithm algorithm : algorithms) {
    if (algorithm == ChecksumAlgorithm::kCrc64Nvme || algorithm == ChecksumAlgorithm::kMd5) continue;
    hashers_.emplace_back(algorithm);
  }
}

void BodyHashes::update(std::string_view piece) {
  md5_hasher_.update(piece);
  for (ChecksumHasher& hasher : hashers_) hasher.update(piece);
}

void BodyHashes::finish() {
  md5_ = md5_hasher_.finish();
  checksums_[ChecksumAlgorithm::kMd5] = md5_;
  for (ChecksumHasher& hasher : hashers_) checksums_[hasher.algorithm()] = hasher.finish();
}

const std::string& BodyHashes::checksum(ChecksumAlgorithm algorithm) const {
  const auto found = checksums_.find(algorithm);
  ATHANOR_ASSERT(found != checksums_.end());
  return found->second;
}

SpooledBody::SpooledBody(BodyFiles& bodies, std::atomic<std::uint64_t>& numbers,
                         const std::vector<ChecksumAlgorithm>& algorithms)
    : bodies_(bodies), hashes_(algorithms), number_(numbers++) {}

SpooledBody::~SpooledBody() {
  if (!file_ || kept_) return;
  file_.reset();
  try {
    bodies_.remove(number_);
  } catch (const Error&) {
    // It is nobody's; the next start removes it.
  }
}

void SpooledBody::store(std::string_view piece) {
  size_ += piece.size();
  if (!file_) {
    if (size_ <= kSmallBodyBytesMax) {
      bytes_.append(piece);
      return;
    }
    file_ = bodies_.open(number_);
    file_->write_at(0, bytes_);
  }
  file_->write_at(size_ - piece.size(), piece);
  if (size_ - announced_ >= kAnnounceBytes) {
    file_->start_writing(announced_, size_ - announced_);
    announced_ = size_;
  }
}

void SpooledBody::finish() {
  hashes_.finish();
  if (!file_) return;
  file_->sync();
  bodies_.sync_name(number_);
}

bool PartSpace::is_free(std::uint64_t offset, std::uint64_t size) const {
  const auto after = taken_.lower_bound(offset);
  if (after != taken_.end() && after->first < offset + std::max<std::uint64_t>(size, 1)) return false;
  if (after == taken_.begin()) return true;
  const auto before = std::prev(after);
  return before->first + before->second <= offset;
}

std::uint64_t PartSpace::reserve(std::uint32_t number, std::uint64_t size) {
  const std::lock_guard lock(mutex_);
  stride_ = std::max(stride_, size);
  std::uint64_t offset = (number - 1) * stride_;
  if (offset > kOffsetMax || !is_free(offset, size)) {
    offset = 0;
    // Ranges do not overlap, so that the last one to begin is the last one to end.
    if (!taken_.empty()) offset = taken_.rbegin()->first + std::max<std::uint64_t>(taken_.rbegin()->second, 1);
    offset = (offset + 4095) / 4096 * 4096;
  }
  taken_[offset] = size;
  return offset;
}

void PartSpace::reserve_at(std::uint64_t offset, std::uint64_t size) {
  const std::lock_guard lock(mutex_);
  stride_ = std::max(stride_, size);
  taken_[offset] = size;
}

void PartSpace::release(std::uint64_t offset) {
  const std::lock_guard lock(mutex_);
  taken_.erase(offset);
}

PartBody::PartBody(BodyFiles& bodies, std::uint64_t file_number, std::shared_ptr<PartSpace> space, std::uint32_t number,
                   std::uint64_t size, const std::vector<ChecksumAlgorithm>& algorithms)
    : bodies_(bodies),
      hashes_(algorithms),
      file_number_(file_number),
      space_(std::move(space)),
      promised_(size),
      offset_(space_->reserve(number, size)) {
  try {
    file_ = bodies_.open(file_number_);
  } catch (...) {
    space_->release(offset_);
    throw;
  }
}

PartBody::~PartBody() {
  if (kept_) return;
  file_->free_range(offset_, promised_);  // a write that failed may have left more than size_
  space_->release(offset_);
}

void PartBody::keep(const std::optional<Extent>& replaced) {
  kept_ = true;
  if (!replaced) return;
  file_->free_range(replaced->offset, replaced->length);
  space_->release(replaced->offset);
}

void PartBody::store(std::string_view piece) {
  if (size_ + piece.size() > promised_) {
    throw Error(ErrorKind::kInvalid, "a part holds more than the {} bytes that were announced", promised_);
  }
  file_->write_at(offset_ + size_, piece);
  size_ += piece.size();
  if (size_ - announced_ >= kAnnounceBytes) {
    file_->start_writing(offset_ + announced_, size_ - announced_);
    announced_ = size_;
  }
}

void PartBody::finish() {
  if (size_ != promised_) {
    throw Error(ErrorKind::kInvalid, "a part holds {} of the {} bytes that were announced", size_, promised_);
  }
  hashes_.finish();
  file_->sync();
  bodies_.sync_name(file_number_);
}

}  // namespace athanor::storage
