#include "platform/storage/channel_copy.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "common/error.h"
#include "common/relative_path.h"
#include "platform/storage/parallel.h"

namespace athanor::storage {

namespace {

Error none_found(const ChannelSource& source) {
  return Error(
      ErrorKind::kNotFound,
      "No S3 objects found under S3 URL \"{}\" given in input data source. Please ensure that the bucket exists, "
      "that the prefix is right, and that the role may read it.",
      source.uri);
}

std::vector<S3Object> listed(S3Client& client, const ChannelSource& source, const S3Uri& prefix) {
  try {
    return client.list(prefix.bucket, prefix.key);
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::kNotFound) throw none_found(source);
    throw;
  }
}

}  // namespace

std::vector<ChannelFile> place_keys(const ChannelSource& source, const S3Uri& prefix, std::vector<S3Object> objects) {
  std::sort(objects.begin(), objects.end(), [](const auto& a, const auto& b) { return a.key < b.key; });
  const bool is_folder = prefix.key.empty() || prefix.key.ends_with('/');
  const std::string folder = is_folder ? prefix.key : prefix.key + "/";
  const auto slash = prefix.key.rfind('/');
  const std::size_t beside = slash == std::string::npos ? 0 : slash + 1;
  std::vector<ChannelFile> files;
  std::set<std::string> folders;
  std::map<std::string, std::string> names;  // paths, and the keys that they are of
  for (auto& object : objects) {
    const std::size_t cut = object.key.starts_with(folder) ? folder.size() : beside;
    ChannelFile file{{prefix.bucket, object.key}, object.key.substr(cut), object.size};
    file.folder = file.path.ends_with('/');
    if (file.folder) file.path.pop_back();
    if (file.path.empty()) continue;  // the prefix itself, as a folder's marker
    if (!is_relative_path(file.path)) {
      throw Error(ErrorKind::kInvalid,
                  "the key '{}' of channel '{}' cannot be a file below the channel's folder: rename it", object.key,
                  source.channel);
    }
    for (auto at = file.path.find('/'); at != std::string::npos; at = file.path.find('/', at + 1)) {
      folders.insert(file.path.substr(0, at));
    }
    if (file.folder) {
      folders.insert(file.path);
    } else if (const auto [same, is_new] = names.emplace(file.path, object.key); !is_new) {
      throw Error(
          ErrorKind::kInvalid,
          "the keys '{}' and '{}' of channel '{}' would both be its file '{}': end its S3Uri with '/', or rename "
          "one",
          same->second, object.key, source.channel, file.path);
    }
    files.push_back(std::move(file));
  }
  for (const auto& [name, key] : names) {
    if (folders.contains(name)) {
      throw Error(ErrorKind::kInvalid,
                  "the key '{}' of channel '{}' is both a file and a folder of other keys: rename one", key,
                  source.channel);
    }
  }
  if (source.distribution == ChannelSource::Distribution::kShardedByKey) {
    std::vector<ChannelFile> shard;
    std::size_t dealt = 0;
    for (auto& file : files) {
      if (file.folder || dealt++ % source.instance_count == source.instance_index) shard.push_back(std::move(file));
    }
    files = std::move(shard);
  }
  std::sort(files.begin(), files.end(), [](const auto& a, const auto& b) { return a.path < b.path; });
  return files;
}

std::vector<ChannelFile> plan_channel(S3Client& client, const ChannelSource& source) {
  const S3Uri prefix = S3Uri::parse(source.uri);
  auto objects = listed(client, source, prefix);
  if (objects.empty()) throw none_found(source);
  return place_keys(source, prefix, std::move(objects));
}

void copy_channel(S3Client& client, const std::vector<ChannelFile>& plan, const std::string& folder, Files& files,
                  const std::function<void(std::uint64_t)>& progress) {
  files.make_folders(folder);
  std::set<std::string> folders;
  for (const auto& file : plan) {
    const auto slash = file.path.rfind('/');
    if (file.folder) {
      folders.insert(file.path);
    } else if (slash != std::string::npos) {
      folders.insert(file.path.substr(0, slash));
    }
  }
  for (const auto& name : folders) files.make_folders(folder + "/" + name);
  for_each_in_parallel(plan.size(), 8, [&](std::size_t i) {
    if (plan[i].folder) return;
    const std::string path = folder + "/" + plan[i].path;
    const auto there = files.stat(path);
    if (there && there->type == FileInfo::Type::kFile && there->size == plan[i].size) return;
    client.get_to_file(plan[i].from, path, progress);
  });
}

}  // namespace athanor::storage
