// Files that fail at the n-th change and at every later one, as if the process had ended there. A failing write has
// written half of its bytes. A power failure may then take the names that no sync_folder() had made durable, while what
// was removed is gone: the worst that a file system may make of the order of changes.
// Any thread.
#pragma once

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "common/error.h"
#include "common/files.h"

namespace athanor {

class CrashingFiles final : public Files {
 public:
  explicit CrashingFiles(std::int64_t at) : left_(at) {}
  bool crashed() const { return left_ < 0; }
  // From now on, instead of what the constructor was told.
  void crash_at(std::int64_t at) { left_ = at; }

  void lose_power() {
    const std::lock_guard lock(mutex_);
    for (auto name = unsynced_.rbegin(); name != unsynced_.rend(); ++name) {
      if (name->from.empty()) {
        real_.remove_all(name->path);
      } else if (real_.stat(name->path)) {
        real_.rename(name->path, name->from);
      }
    }
    unsynced_.clear();
  }

  std::unique_ptr<File> open(const std::string& path, Open how, std::uint32_t mode) override {
    if (how != Open::kRead) {
      change("opening " + path);
      const std::lock_guard lock(mutex_);
      if (!real_.stat(path)) unsynced_.push_back({path, ""});
    }
    return std::make_unique<CrashingFile>(*this, real_.open(path, how, mode));
  }
  std::optional<FileInfo> stat(const std::string& path) override { return real_.stat(path); }
  std::vector<std::string> list(const std::string& path) override { return real_.list(path); }
  void make_folders(const std::string& path, std::uint32_t mode) override {
    change("making " + path);
    const std::lock_guard lock(mutex_);
    const std::size_t before = unsynced_.size();
    for (std::string made = path; !real_.stat(made); made = folder_of(made)) {
      unsynced_.insert(unsynced_.begin() + static_cast<std::ptrdiff_t>(before), {made, ""});
    }
    real_.make_folders(path, mode);
  }
  void rename(const std::string& from, const std::string& to) override {
    change("renaming " + from);
    const std::lock_guard lock(mutex_);
    real_.rename(from, to);
    unsynced_.push_back({to, from});
  }
  bool remove(const std::string& path) override {
    change("removing " + path);
    return real_.remove(path);
  }
  void sync_folder(const std::string& path) override {
    change("syncing " + path);
    const std::lock_guard lock(mutex_);
    real_.sync_folder(path);
    std::erase_if(unsynced_, [&](const Name& name) { return folder_of(name.path) == path; });
  }

 private:
  static std::string folder_of(const std::string& path) { return std::filesystem::path(path).parent_path(); }

  class CrashingFile final : public File {
   public:
    CrashingFile(CrashingFiles& files, std::unique_ptr<File> real) : files_(files), real_(std::move(real)) {}
    std::size_t read_at(std::uint64_t offset, std::span<char> into) override { return real_->read_at(offset, into); }
    void write_at(std::uint64_t offset, std::string_view bytes) override {
      if (files_.left_ == 0) real_->write_at(offset, bytes.substr(0, bytes.size() / 2));
      files_.change("writing");
      real_->write_at(offset, bytes);
    }
    void append(std::string_view bytes) override {
      if (files_.left_ == 0) real_->append(bytes.substr(0, bytes.size() / 2));
      files_.change("writing");
      real_->append(bytes);
    }
    std::uint64_t size() override { return real_->size(); }
    void truncate(std::uint64_t size) override {
      files_.change("truncating");
      real_->truncate(size);
    }
    void sync() override {
      files_.change("syncing");
      real_->sync();
    }

   private:
    CrashingFiles& files_;
    std::unique_ptr<File> real_;
  };

  // A name that a power failure may take: its file or folder was made, or was called `from` before.
  struct Name {
    std::string path;
    std::string from;  // empty: made
  };

  void change(const std::string& doing) {
    if (left_-- <= 0) {
      left_ = -1;
      throw system_error(EIO, doing);
    }
  }

  SystemFiles real_;
  std::atomic<std::int64_t> left_;
  std::mutex mutex_;
  std::vector<Name> unsynced_;  // guarded by mutex_; in the order of the changes
};

}  // namespace athanor
