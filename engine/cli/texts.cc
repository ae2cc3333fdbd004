#include "engine/cli/texts.h"

#include <algorithm>
#include <filesystem>
#include <optional>
#include <span>

#include "common/error.h"
#include "engine/data/token_file.h"
#include "engine/model/tokenizer/tokenizer.h"
#include "engine/model/tokenizer/utf8.h"

namespace athanor::llm {

namespace {

constexpr std::size_t kPieceBytes = 4 << 20;
constexpr std::size_t kCharacterBytesMax = 4;
constexpr int kDepthMax = 32;

// Links to files are followed everywhere; links to folders only where the user names one, so that none leads in circles.
void collect(Files& files, const std::string& path, int depth, std::vector<std::string>& into) {
  const auto info = files.stat(path);
  if (info && info->type == FileInfo::Type::kLink) {
    std::error_code failure;
    const std::string target = std::filesystem::canonical(path, failure).string();
    if (failure) throw Error(ErrorKind::kNotFound, "{} is a link to nothing", path);
    const bool folder = files.stat(target)->type == FileInfo::Type::kFolder;
    if (!folder || depth == 0) collect(files, target, depth + 1, into);
    return;
  }
  if (!info) throw Error(ErrorKind::kNotFound, "There is no file or folder {}", path);
  if (info->type == FileInfo::Type::kFile) into.push_back(path);
  if (info->type != FileInfo::Type::kFolder) return;
  if (depth == kDepthMax) {
    throw Error(ErrorKind::kInvalid, "Looking for texts: {} lies more than {} folders deep", path, kDepthMax);
  }
  for (const std::string& name : files.list(path)) {
    if (!name.starts_with('.')) collect(files, path + "/" + name, depth + 1, into);
  }
}

}  // namespace

std::vector<std::string> text_files(Files& files, const std::vector<std::string>& paths) {
  std::vector<std::string> found;
  for (const std::string& path : paths) collect(files, path, 0, found);
  if (found.empty()) throw Error(ErrorKind::kInvalid, "There is no text: {} has no files", fmt::join(paths, ", "));
  return found;
}

std::uint64_t total_bytes(Files& files, const std::vector<std::string>& paths) {
  std::uint64_t bytes = 0;
  for (const std::string& path : paths) {
    if (const auto info = files.stat(path)) bytes += info->size;
  }
  return bytes;
}

void for_each_piece(Files& files, const std::string& path, const std::function<void(std::string_view piece)>& piece) {
  const auto file = files.open(path, Files::Open::kRead);
  std::string pending;
  std::uint64_t read = 0;
  std::size_t wanted = kPieceBytes;
  for (bool ended = false; !ended;) {
    const std::size_t had = pending.size();
    pending.resize(had + kPieceBytes);
    const std::size_t got = file->read_at(read, std::span(pending).subspan(had));
    pending.resize(had + got);
    read += got;
    ended = got == 0;
    if (pending.empty() || (!ended && pending.size() < wanted)) continue;
    const std::size_t valid = std::min(model::utf8_valid_prefix(pending), pending.find('\0'));
    if (read == pending.size() && data::looks_like_token_file(pending)) {
      throw Error(ErrorKind::kInvalid,
                  "{} is a token file, which only `pretrain` reads. Give the texts that it was made of", path);
    }
    if (valid < pending.size() && (ended || pending.size() - valid >= kCharacterBytesMax)) {
      throw Error(
          ErrorKind::kInvalid,
          "{} is not UTF-8 text: byte {} is 0x{:02x}. Convert it (`iconv -t UTF-8`), unpack it, or leave it out", path,
          read - pending.size() + valid, static_cast<unsigned char>(pending[valid]));
    }
    const std::string_view text = std::string_view(pending).substr(0, valid);
    const std::size_t cut = ended ? text.size() : model::safe_cut(text, text.size() - 1);
    if (cut == 0) {
      wanted = 2 * pending.size();  // twice, so that looking for a place costs no more than reading
      continue;
    }
    wanted = kPieceBytes;
    piece(text.substr(0, cut));
    pending.erase(0, cut);
  }
}

}  // namespace athanor::llm
