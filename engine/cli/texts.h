// Texts as users have them: files of UTF-8, and folders of such files.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "common/files.h"

namespace athanor::llm {

// The files that `paths` name, folders with all below them in the order of their names; what begins with a dot is left
// out. Throws kNotFound for a path that is not there, kInvalid when there is no file at all.
std::vector<std::string> text_files(Files& files, const std::vector<std::string>& paths);

std::uint64_t total_bytes(Files& files, const std::vector<std::string>& paths);

// Reads a file in pieces of some MiB, cut where the tokens of the pieces are those of the whole; larger ones where a text
// has no such place (see safe_cut). Throws kInvalid, naming file and place, for what is not UTF-8 text.
void for_each_piece(Files& files, const std::string& path, const std::function<void(std::string_view piece)>& piece);

}  // namespace athanor::llm
