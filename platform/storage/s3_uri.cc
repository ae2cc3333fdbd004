#include "platform/storage/s3_uri.h"

#include <algorithm>

#include "common/error.h"

namespace athanor::storage {

S3Uri S3Uri::parse(std::string_view text) {
  static constexpr std::string_view kScheme = "s3://";
  if (!text.starts_with(kScheme)) {
    throw Error(ErrorKind::kInvalid, "'{}' is not an S3 URI: it must be s3://BUCKET/KEY", text);
  }
  const std::string_view rest = text.substr(kScheme.size());
  const auto slash = std::min(rest.find('/'), rest.size());
  if (slash == 0) throw Error(ErrorKind::kInvalid, "'{}' names no bucket: it must be s3://BUCKET/KEY", text);
  return {std::string(rest.substr(0, slash)), std::string(slash == rest.size() ? "" : rest.substr(slash + 1))};
}

S3Uri S3Uri::below(std::string_view name) const {
  const bool joined = key.empty() || key.ends_with('/');
  return {bucket, key + (joined ? "" : "/") + std::string(name)};
}

}  // namespace athanor::storage
