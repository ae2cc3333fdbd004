#include "common/disk_reserve.h"

#include "common/error.h"

namespace athanor {

namespace {

constexpr std::size_t kReserveBytes = 2 << 20;

}  // namespace

DiskReserve::DiskReserve(std::string path, Files& files) : path_(std::move(path)), files_(files) {
  const auto there = files_.stat(path_);
  held_ = there && there->size == kReserveBytes;
  hold();
}

bool DiskReserve::hold() {
  if (held_) return true;
  try {
    const auto file = files_.open(path_, Files::Open::kTruncate, 0600);
    file->write_at(0, std::string(kReserveBytes, '\0'));
    file->sync();
    held_ = true;
  } catch (const Error&) {
    release();  // a part of it is of no use
  }
  return held_;
}

void DiskReserve::release() {
  held_ = false;
  try {
    files_.remove(path_);
  } catch (const Error&) {
    // Then there is no more room than before, and whoever needs it will say so.
  }
}

}  // namespace athanor
