// Files of bodies by number: FOLDER/XX/NUMBER, spread over 256 folders.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_set>

#include "common/files.h"

namespace athanor::storage {

// Any thread.
class BodyFiles {
 public:
  // Makes the folders that are absent.
  BodyFiles(std::string folder, Files& files);

  // For writing; made when absent. The name is durable after sync_name().
  std::unique_ptr<File> open(std::uint64_t number);
  void sync_name(std::uint64_t number);
  // For reading and sendfile; nothing when it does not exist.
  std::shared_ptr<const int> open_descriptor(std::uint64_t number) const;
  void remove(std::uint64_t number);
  // Removes every file whose number is not in `keep`; returns how many. Before anybody else uses the folder.
  std::size_t sweep(const std::unordered_set<std::uint64_t>& keep);

 private:
  std::string folder_of(std::uint64_t number) const;
  std::string path_of(std::uint64_t number) const;

  const std::string folder_;
  Files& files_;
};

}  // namespace athanor::storage
