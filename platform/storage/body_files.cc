#include "platform/storage/body_files.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>

#include "common/descriptor.h"
#include "common/error.h"

namespace athanor::storage {

BodyFiles::BodyFiles(std::string folder, Files& files) : folder_(std::move(folder)), files_(files) {
  for (std::uint64_t i = 0; i < 256; ++i) files_.make_folders(folder_of(i), 0700);
  files_.sync_folder(folder_);
}

std::string BodyFiles::folder_of(std::uint64_t number) const { return fmt::format("{}/{:02x}", folder_, number & 255); }

std::string BodyFiles::path_of(std::uint64_t number) const {
  return fmt::format("{}/{:02x}/{:x}", folder_, number & 255, number);
}

std::unique_ptr<File> BodyFiles::open(std::uint64_t number) {
  return files_.open(path_of(number), Files::Open::kCreate, 0600);
}

void BodyFiles::sync_name(std::uint64_t number) { files_.sync_folder(folder_of(number)); }

std::shared_ptr<const int> BodyFiles::open_descriptor(std::uint64_t number) const {
  const std::string path = path_of(number);
  struct Held {
    Descriptor descriptor;
    int number;
  };
  Descriptor descriptor(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!descriptor) {
    if (errno == ENOENT) return nullptr;
    throw system_error(errno, "opening " + path);
  }
  const int raw = descriptor.get();
  const auto held = std::make_shared<const Held>(Held{std::move(descriptor), raw});
  return {held, &held->number};
}

void BodyFiles::remove(std::uint64_t number) { files_.remove(path_of(number)); }

std::size_t BodyFiles::sweep(const std::unordered_set<std::uint64_t>& keep) {
  std::size_t removed = 0;
  for (std::uint64_t i = 0; i < 256; ++i) {
    const std::string folder = folder_of(i);
    for (const std::string& name : files_.list(folder)) {
      std::uint64_t number = 0;
      const auto [end, failure] = std::from_chars(name.data(), name.data() + name.size(), number, 16);
      const bool ours = failure == std::errc() && end == name.data() + name.size();
      if (ours && keep.contains(number)) continue;
      files_.remove(folder + "/" + name);
      ++removed;
    }
  }
  return removed;
}

}  // namespace athanor::storage
