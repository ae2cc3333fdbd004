// What an earlier job left: SageMaker's model.tar.gz, unpacked for a job whose channel has it as it lies in S3.
#pragma once

#include <cstdint>
#include <string>

#include "common/files.h"

namespace athanor::llm {

inline constexpr std::size_t kArchiveFilesMax = 10'000;

// Whether a file of this name is unpacked: it ends in .tar.gz, .tgz or .tar.
bool is_model_archive(const std::string& path);

// Writes the files of a tar archive, compressed by gzip or not at all, below `folder`, which exists. What is in it comes from
// elsewhere: only regular files and folders are taken, each once, by names that stay below the folder, kArchiveFilesMax of them
// at most, and no more than `room_bytes` in all, whatever the compressed file's size. What fails leaves a part behind.
// Throws kNotFound, kDenied, kCorrupt, kInvalid (with the name in the archive), kExhausted.
void unpack_model(Files& files, const std::string& archive, const std::string& folder, std::uint64_t room_bytes);

// What can still be written to the disk of `folder`, less a part for everybody else there.
std::uint64_t room_in(const std::string& folder);

}  // namespace athanor::llm
