// Cuts text into the pieces that byte-pair merges never cross: words with their leading space, numbers, punctuation,
// white space. The cuts are regular expressions, as the tokenizer's author chose them; PCRE2 knows the Unicode classes.
//
// Immutable and shared by threads. Text may be broken UTF-8: each run of broken bytes is a piece of its own.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace athanor::model {

// GPT-2's expression, as Hugging Face's "ByteLevel" applies it.
extern const char* const kGpt2Pattern;

class PreTokenizer {
 public:
  // Each pattern cuts the pieces of the one before it: a match is a piece, and so is what lies between two matches.
  // Throws kInvalid for a pattern that is none, or is longer than 4 KiB.
  PreTokenizer(std::vector<std::string> patterns, bool add_prefix_space);
  static PreTokenizer gpt2() { return PreTokenizer({kGpt2Pattern}, false); }

  const std::vector<std::string>& patterns() const { return patterns_; }
  // A space is put before a text that does not start with one.
  bool add_prefix_space() const { return add_prefix_space_; }

  // Calls `piece` for each piece in order; together they are the text (with the prefix space, if that is asked for).
  // Throws kInvalid when a pattern takes too long on this text.
  void split(std::string_view text, const std::function<void(std::string_view piece)>& piece) const;

 private:
  struct Compiled;
  class Matcher;
  void split_valid(std::string_view text, std::size_t step, std::vector<Matcher>& matchers,
                   const std::function<void(std::string_view)>& piece) const;

  std::vector<std::string> patterns_;
  bool add_prefix_space_;
  std::vector<std::shared_ptr<const Compiled>> compiled_;
};

}  // namespace athanor::model
