// Cuts text into the pieces that byte-pair merges never cross: words with their leading space, numbers, punctuation,
// white space. The cuts are regular expressions, as the tokenizer's author chose them; PCRE2 knows the Unicode classes.
//
// Immutable and shared by threads. Text may be broken UTF-8: each run of broken bytes is a piece of its own.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace athanor::model {

// GPT-2's expression, as Hugging Face's "ByteLevel" applies it.
extern const char* const kGpt2Pattern;

class PreTokenizer {
 public:
  // sentencepiece's spaces as a pre-tokenizer: every space becomes `replacement`, one is put in front of a text that does
  // not start with it, and, if asked for, each begins a piece.
  struct Metaspace {
    enum class Prepend { kNever, kFirst, kAlways };
    std::string replacement;
    Prepend prepend = Prepend::kAlways;  // kFirst: only where nothing stands before the text, no added token either
    bool split = true;
  };
  // What one thread needs to match; made at first use, and worth keeping over many texts.
  class Scratch;

  // Does nothing: a text is one piece.
  PreTokenizer() : PreTokenizer({}, false) {}
  // Each pattern cuts the pieces of the one before it: a match is a piece, and so is what lies between two matches.
  // Throws kInvalid for a pattern that is none, or is longer than 4 KiB.
  PreTokenizer(std::vector<std::string> patterns, bool add_prefix_space);
  // Throws kInvalid when the replacement is empty.
  explicit PreTokenizer(Metaspace metaspace);
  static PreTokenizer gpt2() { return PreTokenizer({kGpt2Pattern}, false); }

  const std::vector<std::string>& patterns() const { return patterns_; }
  // A space is put before a text that does not start with one.
  bool add_prefix_space() const { return add_prefix_space_; }
  const std::optional<Metaspace>& metaspace() const { return metaspace_; }
  // Whether the pieces are the text, byte for byte.
  bool changes_nothing() const { return !add_prefix_space_ && !metaspace_; }

  enum class Place {
    kFirst,      // the text begins here
    kLater,      // after an added token
    kContinues,  // goes on from a text that was cut: nothing is put in front
  };
  // Calls `piece` for each piece in order; together they are the text (with the prefix space, if that is asked for).
  // Throws kInvalid when a pattern takes too long on this text.
  void split(std::string_view text, Place place, Scratch& scratch, const std::function<void(std::string_view piece)>& piece) const;
  void split(std::string_view text, const std::function<void(std::string_view piece)>& piece) const;

 private:
  struct Compiled;
  class Matcher;
  void split_metaspace(std::string_view text, Place place, const std::function<void(std::string_view)>& piece) const;
  void split_valid(std::string_view text, std::size_t step, std::vector<Matcher>& matchers,
                   const std::function<void(std::string_view)>& piece) const;

  std::vector<std::string> patterns_;
  bool add_prefix_space_ = false;
  std::optional<Metaspace> metaspace_;
  std::vector<std::shared_ptr<const Compiled>> compiled_;
};

class PreTokenizer::Scratch {
 public:
  Scratch();
  ~Scratch();

 private:
  friend class PreTokenizer;
  std::vector<Matcher> matchers_;
};

}  // namespace athanor::model
