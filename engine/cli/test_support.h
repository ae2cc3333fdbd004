// What the tests of this room share: texts to learn from.
#pragma once

#include <string>

namespace athanor::llm {

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
