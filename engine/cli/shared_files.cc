#include "engine/cli/shared_files.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>

namespace athanor::llm {

namespace {

constexpr std::string_view kNameless = "/proc/self/fd/";  // + descriptor: a file that has no other path
constexpr std::size_t kBroadcastBytes = 4 << 20;
constexpr std::int64_t kBroadcastBytesMax = std::int64_t{1} << 46;

// Rank 0 gives `bytes`; on the others `take` gets them, piece after piece.
void share_bytes(parallel::Collectives& collectives, std::string_view bytes,
                 const std::function<void(std::string_view)>& take) {
  auto size = static_cast<std::int64_t>(bytes.size());
  collectives.broadcast(std::as_writable_bytes(std::span(&size, 1)), 0);
  if (size < 0 || size > kBroadcastBytesMax) throw Error(ErrorKind::kCorrupt, "Rank 0 announced {} bytes", size);
  std::string buffer;
  for (std::int64_t at = 0; at < size; at += static_cast<std::int64_t>(buffer.size())) {
    buffer.resize(std::min(kBroadcastBytes, static_cast<std::size_t>(size - at)));
    if (collectives.rank() == 0) bytes.copy(buffer.data(), buffer.size(), static_cast<std::size_t>(at));
    collectives.broadcast(std::as_writable_bytes(std::span(buffer)), 0);
    if (collectives.rank() != 0) take(buffer);
  }
}

}  // namespace

ScratchFile::ScratchFile() {
  std::string name = (std::filesystem::temp_directory_path() / "athanor-llm-XXXXXX").string();
  descriptor_ = ::mkostemp(name.data(), O_CLOEXEC);
  if (descriptor_ < 0) throw system_error(errno, "making a file for the tokens at " + name);
  ::unlink(name.c_str());
}

ScratchFile::~ScratchFile() { ::close(descriptor_); }

std::string ScratchFile::path() const { return fmt::format("{}{}", kNameless, descriptor_); }

Error with_scratch_advice(const Error& error) {
  if (error.kind() != ErrorKind::kExhausted ||
      std::string_view(error.what()).find(kNameless) == std::string_view::npos) {
    return error;
  }
  return Error(ErrorKind::kExhausted, "{}. The tokens lie in {}: make room there, or set TMPDIR to another folder",
               error.what(), std::filesystem::temp_directory_path().string());
}

std::string share_text(parallel::Collectives& collectives, std::string text) {
  if (collectives.size() == 1) return text;
  std::string shared;
  share_bytes(collectives, text, [&](std::string_view bytes) { shared += bytes; });
  return collectives.rank() == 0 ? std::move(text) : std::move(shared);
}

std::unique_ptr<const ScratchFile> share_file(Files& files, std::string_view mine, parallel::Collectives& collectives) {
  if (collectives.size() == 1) return nullptr;
  auto scratch = std::make_unique<ScratchFile>();
  const auto file = files.open(scratch->path(), Files::Open::kTruncate);
  share_bytes(collectives, mine, [&](std::string_view bytes) { file->append(bytes); });
  if (collectives.rank() == 0 || file->size() == 0) return nullptr;
  return scratch;
}

}  // namespace athanor::llm
