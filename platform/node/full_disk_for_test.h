// For tests: files on a disk that can be full.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/error.h"
#include "common/files.h"

namespace athanor::node {

// The system's files, with a disk that can be full.
class FullDisk final : public Files {
 public:
  bool full = false;
  bool removing_makes_room = false;

  std::unique_ptr<File> open(const std::string& path, Open how, std::uint32_t mode) override {
    return std::make_unique<OneFile>(files_.open(path, how, mode), *this);
  }
  std::optional<FileInfo> stat(const std::string& path) override { return files_.stat(path); }
  std::vector<std::string> list(const std::string& path) override { return files_.list(path); }
  void make_folders(const std::string& path, std::uint32_t mode) override { files_.make_folders(path, mode); }
  void rename(const std::string& from, const std::string& to) override { files_.rename(from, to); }
  bool remove(const std::string& path) override {
    full = full && !removing_makes_room;
    return files_.remove(path);
  }
  void sync_folder(const std::string& path) override { files_.sync_folder(path); }

 private:
  class OneFile final : public File {
   public:
    OneFile(std::unique_ptr<File> file, FullDisk& disk) : file_(std::move(file)), disk_(disk) {}
    std::size_t read_at(std::uint64_t offset, std::span<char> into) override { return file_->read_at(offset, into); }
    void write_at(std::uint64_t offset, std::string_view bytes) override {
      if (disk_.full) {
        file_->write_at(offset, bytes.substr(0, bytes.size() / 2));  // as far as there was room
        throw Error(ErrorKind::kExhausted, "writing: No space left on device");
      }
      file_->write_at(offset, bytes);
    }
    void append(std::string_view bytes) override { write_at(size(), bytes); }
    std::uint64_t size() override { return file_->size(); }
    void truncate(std::uint64_t size) override { file_->truncate(size); }
    void sync() override { file_->sync(); }

   private:
    std::unique_ptr<File> file_;
    FullDisk& disk_;
  };
  SystemFiles files_;
};

}  // namespace athanor::node
