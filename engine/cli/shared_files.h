// What rank 0 reads or makes and all ranks need: texts, and files that have no name.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "common/error.h"
#include "common/files.h"
#include "engine/parallel/collectives.h"

namespace athanor::llm {

// A file for tokens that has no name, so that nothing is left behind, however we end. It is gone when the last that has it
// open or mapped is.
class ScratchFile {
 public:
  ScratchFile();
  ~ScratchFile();
  ScratchFile(const ScratchFile&) = delete;
  ScratchFile& operator=(const ScratchFile&) = delete;

  // Opens it anew, as long as this lives.
  std::string path() const;

 private:
  int descriptor_ = -1;
};

// `error`, with what to do when it is that there was no room for a scratch file.
Error with_scratch_advice(const Error& error);

// Rank 0's text, on every rank.
std::string share_text(parallel::Collectives& collectives, std::string text);

// Rank 0 gives the bytes of a file; the others get a file that holds them. Null on rank 0, and when there are none.
std::unique_ptr<const ScratchFile> share_file(Files& files, std::string_view mine, parallel::Collectives& collectives);

}  // namespace athanor::llm
