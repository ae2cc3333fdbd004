// "s3://bucket/key" taken apart.
#pragma once

#include <string>
#include <string_view>

namespace athanor::storage {

struct S3Uri {
  std::string bucket;
  std::string key;  // or a prefix; may be empty, never starts with the '/' after the bucket

  // Throws kInvalid on anything but s3://BUCKET[/KEY].
  static S3Uri parse(std::string_view text);
  std::string text() const { return "s3://" + bucket + "/" + key; }
  // The URI of `name` below this one, as below a folder.
  S3Uri below(std::string_view name) const;
};

}  // namespace athanor::storage
