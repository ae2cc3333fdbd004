// What the tests of this room share: a folder of the test's own, and texts to learn from.
#pragma once

#include <unistd.h>

#include <filesystem>
#include <string>

#include "common/files.h"

namespace athanor::llm {

class TestFolder {
 public:
  TestFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "athanor-llm-test-XXXXXX").string();
    path = ::mkdtemp(name.data());
  }
  ~TestFolder() { std::filesystem::remove_all(path); }
  TestFolder(const TestFolder&) = delete;
  TestFolder& operator=(const TestFolder&) = delete;

  // Writes a file below the folder, with the folders that it needs; returns its path.
  std::string put(const std::string& name, const std::string& contents) const {
    const std::string file = path + "/" + name;
    std::filesystem::create_directories(std::filesystem::path(file).parent_path());
    SystemFiles().replace(file, contents);
    return file;
  }

  std::string path;
};

// Lines of words, the same for the same seed.
inline std::string some_text(std::size_t bytes, unsigned seed = 1) {
  static const char* const kWords[] = {"and", "the", "light", "darkness", "waters", "évening", "was", "God", "saw", "said"};
  std::string text;
  for (unsigned state = seed; text.size() < bytes;) {
    state = state * 1664525 + 1013904223;
    text += kWords[(state >> 16) % 10];
    text += (state >> 24) % 12 == 0 ? ".\n" : " ";
  }
  return text;
}

}  // namespace athanor::llm
