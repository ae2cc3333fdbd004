// A channel in File mode: which objects an instance gets, where they go, and bringing them there.
//
// Where SageMaker's own behaviour is known it is followed: S3Prefix matches keys by prefix (not by folder), a file's
// place in the channel is its key after the prefix where that is its folder ("data/mnist" of "data/mnist/x"), else after
// the prefix's last '/', ShardedByS3Key deals the sorted keys round robin.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "common/files.h"
#include "platform/storage/s3_client.h"

namespace athanor::storage {

struct ChannelSource {
  enum class Distribution { kFullyReplicated, kShardedByKey };
  std::string channel;  // its name, for errors
  std::string uri;      // s3://bucket/prefix
  Distribution distribution = Distribution::kFullyReplicated;
  std::uint32_t instance_index = 0;  // of those that share the channel, from 0
  std::uint32_t instance_count = 1;
};

struct ChannelFile {
  S3Uri from;
  std::string path;  // relative, safe: no "..", not absolute, no empty or "." segment
  std::uint64_t size = 0;
  bool folder = false;  // a key that ends in '/': an empty folder
};

// What this instance gets, sorted by path. Errors are the job's FailureReason to be, kInvalid or kNotFound, and read as
// the service's: 'No S3 objects found under S3 URL "…" given in input data source. …', a key that leaves the folder,
// a key that is both file and folder, two keys that would be one file.
std::vector<ChannelFile> plan_channel(S3Client& client, const ChannelSource& source);

// The pure part of the above: keys found under `prefix` (in any order) to files. `bucket` and `prefix` as in the URI.
std::vector<ChannelFile> place_keys(const ChannelSource& source, const S3Uri& prefix, std::vector<S3Object> objects);

// Brings the files into `folder` (made when absent), several at once; each is there whole or not at all. Files that are
// there already with the right size are not brought again. `progress` hears bytes as they come, from any thread, and
// may throw to end it.
void copy_channel(S3Client& client, const std::vector<ChannelFile>& plan, const std::string& folder, Files& files,
                  const std::function<void(std::uint64_t)>& progress = {});

}  // namespace athanor::storage
