// athanor cp.
#include <fmt/format.h>
#include <unistd.h>

#include "platform/cli/commands.h"
#include "platform/cli/connection.h"
#include "platform/cli/exit_code.h"
#include "platform/cli/transfer.h"

namespace athanor::cli {
namespace {

bool is_s3(const std::string& text) { return text.starts_with("s3://"); }

// One object, or all below a prefix, within S3.
Transferred copy_within(storage::S3Client& s3, const storage::S3Uri& from, const storage::S3Uri& to) {
  if (!from.key.empty() && !from.key.ends_with('/')) {
    if (const auto head = s3.head(from)) {
      storage::S3Uri target = to;
      if (target.key.empty() || target.key.ends_with('/')) target.key += from.key.substr(from.key.rfind('/') + 1);
      s3.copy(from, target);
      return {1, head->size};
    }
  }
  storage::S3Uri prefix = from;
  if (!prefix.key.empty() && !prefix.key.ends_with('/')) prefix.key += '/';
  Transferred result;
  for (const storage::S3Object& object : s3.list(prefix.bucket, prefix.key)) {
    s3.copy({prefix.bucket, object.key}, to.below(object.key.substr(prefix.key.size())));
    ++result.objects;
    result.bytes += object.size;
  }
  if (result.objects == 0) {
    throw Error(ErrorKind::kNotFound, "Copying {}: there is no such object, and none below it.", from.text());
  }
  return result;
}

}  // namespace

int copy(const CopyOptions& options) {
  if (!is_s3(options.from) && !is_s3(options.to)) {
    throw Error(ErrorKind::kInvalid, "athanor cp copies to or from S3: one of '{}' and '{}' must be s3://BUCKET/KEY.",
                options.from, options.to);
  }
  Connection connection(find_place(options.common.data_dir));
  const Terminal out(stdout), aside(stderr);
  if (options.to == "-") {
    download_stream(connection.s3(), storage::S3Uri::parse(options.from), STDOUT_FILENO, "standard output");
    return kSuccess;
  }
  Transferred done;
  if (is_s3(options.from) && is_s3(options.to)) {
    done = copy_within(connection.s3(), storage::S3Uri::parse(options.from), storage::S3Uri::parse(options.to));
  } else if (options.from == "-") {
    const storage::S3Uri to = storage::S3Uri::parse(options.to);
    if (to.key.empty() || to.key.ends_with('/')) {
      throw Error(ErrorKind::kInvalid,
                  "Uploading standard input to {}: name the object, for it has no name of its own.", options.to);
    }
    done = upload_stream(connection.s3(), STDIN_FILENO, "standard input", to);
  } else if (is_s3(options.to)) {
    done = upload(connection.s3(), options.from, storage::S3Uri::parse(options.to), aside);
  } else {
    done = download(connection.s3(), storage::S3Uri::parse(options.from), options.to, aside);
  }
  if (options.common.json) {
    out.line(json::serialize(json::object{{"Objects", done.objects}, {"Bytes", done.bytes}}));
  } else if (!options.quiet) {
    out.line(
        fmt::format("{} {}, {}", done.objects, done.objects == 1 ? "object" : "objects", format_bytes(done.bytes)));
  }
  return kSuccess;
}

}  // namespace athanor::cli
