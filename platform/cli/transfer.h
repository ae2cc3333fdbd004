// Files and folders to and from S3, with a line of progress for people.
#pragma once

#include <string>

#include "platform/cli/terminal.h"
#include "platform/storage/s3_client.h"

namespace athanor::cli {

struct Transferred {
  std::size_t objects = 0;
  std::uint64_t bytes = 0;
};

// A file becomes `to` itself, or an object below it when `to` ends with '/' or names a bucket alone; a folder's files become
// objects below `to`. Throws kNotFound when there is nothing at `path`.
Transferred upload(storage::S3Client& s3, const std::string& path, const storage::S3Uri& to, const Terminal& aside);

// The object `from` becomes the file `path`, or one inside when `path` is a folder; when there is no such object, all
// objects below it as a prefix become files below `path`. Throws kNotFound when there are none, kInvalid for keys that
// cannot be file names (with "..", empty parts).
Transferred download(storage::S3Client& s3, const storage::S3Uri& from, const std::string& path, const Terminal& aside);

}  // namespace athanor::cli
