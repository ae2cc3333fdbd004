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
// objects below `to`. What is neither (a FIFO, a device) is read to its end. Throws kNotFound when there is nothing at `path`.
Transferred upload(storage::S3Client& s3, const std::string& path, const storage::S3Uri& to, const Terminal& aside);

// What comes from `descriptor` until its end becomes the object `to`; `name` is what errors call it.
Transferred upload_stream(storage::S3Client& s3, int descriptor, const std::string& name, const storage::S3Uri& to);

// The object `from` becomes the file `path`, or one inside when `path` is a folder; when there is no such object, all
// objects below it as a prefix become files below `path`. Links are followed; what is there and is no file (a FIFO, a device)
// is written into. Throws kNotFound when there are none, kInvalid for keys that cannot be file names (with "..", empty parts).
Transferred download(storage::S3Client& s3, const storage::S3Uri& from, const std::string& path, const Terminal& aside);

// The object's bytes into `descriptor`, as they come.
Transferred download_stream(storage::S3Client& s3, const storage::S3Uri& from, int descriptor, const std::string& name);

}  // namespace athanor::cli
