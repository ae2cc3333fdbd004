// Bodies on their way into the object store: hashed, and kept in memory or a file.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <set>

#include "platform/storage/body_files.h"
#include "platform/storage/object_store.h"

namespace athanor::storage {

// MD5, CRC64NVME, and the algorithms asked for.
class BodyHashes {
 public:
  explicit BodyHashes(const std::vector<ChecksumAlgorithm>& algorithms);
  void update(std::string_view piece);
  void finish();
  const std::string& md5() const { return md5_; }
  const std::string& checksum(ChecksumAlgorithm algorithm) const;

 private:
  Hasher md5_hasher_;
  std::vector<ChecksumHasher> hashers_;
  std::string md5_;
  std::map<ChecksumAlgorithm, std::string> checksums_;
};

// A body that may end small: in memory up to kSmallBodyBytesMax, then in a file of its own.
class SpooledBody final : public IncomingBody {
 public:
  // `numbers` gives file numbers that nobody has used.
  SpooledBody(BodyFiles& bodies, std::atomic<std::uint64_t>& numbers, const std::vector<ChecksumAlgorithm>& algorithms);
  ~SpooledBody() override;

  void hash(std::string_view piece) override { hashes_.update(piece); }
  void store(std::string_view piece) override;
  void finish() override;
  std::uint64_t size() const override { return size_; }
  const std::string& md5() const override { return hashes_.md5(); }
  const std::string& checksum(ChecksumAlgorithm algorithm) const override { return hashes_.checksum(algorithm); }
  bool in_memory() const override { return !file_; }

  const std::string& bytes() const { return bytes_; }  // when in_memory()
  std::uint64_t number() const { return number_; }     // of the file, or to be of the row
  void keep() { kept_ = true; }                        // a row names the file: it stays

 private:
  BodyFiles& bodies_;
  BodyHashes hashes_;
  const std::uint64_t number_;
  std::string bytes_;
  std::unique_ptr<File> file_;
  std::uint64_t size_ = 0;
  std::uint64_t announced_ = 0;  // to the device
  bool kept_ = false;
};

// Which ranges of an upload's file are whose. Part N of an upload whose parts are all of one size lands at (N-1)·size, where
// it will be read, so that the finished object is one stretch; others go to the end. Any thread.
class PartSpace {
 public:
  // Returns the offset.
  std::uint64_t reserve(std::uint32_t number, std::uint64_t size);
  void reserve_at(std::uint64_t offset, std::uint64_t size);  // as found in the database
  void release(std::uint64_t offset);

 private:
  bool is_free(std::uint64_t offset, std::uint64_t size) const;

  std::mutex mutex_;
  std::map<std::uint64_t, std::uint64_t> taken_;  // guarded by mutex_: offset to size
  std::uint64_t stride_ = 0;                      // guarded by mutex_: the size of the largest part so far
};

// A part of an upload, in its range of the upload's file.
class PartBody final : public IncomingBody {
 public:
  PartBody(BodyFiles& bodies, std::uint64_t file_number, std::shared_ptr<PartSpace> space, std::uint32_t number,
           std::uint64_t size, const std::vector<ChecksumAlgorithm>& algorithms);
  ~PartBody() override;

  void hash(std::string_view piece) override { hashes_.update(piece); }
  void store(std::string_view piece) override;
  void finish() override;
  std::uint64_t size() const override { return size_; }
  const std::string& md5() const override { return hashes_.md5(); }
  const std::string& checksum(ChecksumAlgorithm algorithm) const override { return hashes_.checksum(algorithm); }
  bool in_memory() const override { return false; }

  std::uint64_t offset() const { return offset_; }
  // A row names the range now, and no longer `replaced`, the one of an earlier part of this number.
  void keep(const std::optional<Extent>& replaced);

 private:
  BodyFiles& bodies_;
  BodyHashes hashes_;
  const std::uint64_t file_number_;
  const std::shared_ptr<PartSpace> space_;
  const std::uint64_t promised_;
  const std::uint64_t offset_;
  std::unique_ptr<File> file_;
  std::uint64_t size_ = 0;
  std::uint64_t announced_ = 0;
  bool kept_ = false;
};

}  // namespace athanor::storage
