// Cuts text into the pieces that byte-pair merges never cross: words with their leading space, numbers, punctuation,
// white space. The cuts are regular expressions, as the tokenizer's author chose them; PCRE2 knows the Unicode classes.
//
// Immutable and shared by threads. Characters that are newer than PCRE2's Unicode are of their class all the same
// (newer_characters.h). Text may be broken UTF-8: each run of broken bytes is a piece of its own.
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
  // A regular expression, and what becomes of what it finds: Hugging Face's "Split".
  struct Cut {
    enum class Behavior {
      kIsolated,            // a match is a piece, and so is what lies between two matches
      kRemoved,             // what lies between two matches is a piece
      kMergedWithPrevious,  // a match belongs to what comes before it
      kMergedWithNext,      // or after it
      kContiguous,          // neighbouring matches are one piece
    };
    std::string pattern;
    Behavior behavior = Behavior::kIsolated;
    bool invert = false;  // what lies between takes the part of the matches, and they take its
    bool operator==(const Cut&) const = default;
  };
  // What one thread needs to match; made at first use, and worth keeping over many texts.
  class Scratch;

  // Does nothing: a text is one piece.
  PreTokenizer() = default;
  // Each cuts the pieces of the one before it. Throws kInvalid for a pattern that is none, or is longer than 4 KiB.
  PreTokenizer(std::vector<Cut> cuts, bool add_prefix_space);
  // Throws kInvalid when the replacement is empty.
  explicit PreTokenizer(Metaspace metaspace);
  static PreTokenizer isolating(const std::vector<std::string>& patterns, bool add_prefix_space = false);
  static PreTokenizer gpt2() { return isolating({kGpt2Pattern}); }

  const std::vector<Cut>& cuts() const { return cuts_; }
  // A space is put before a text that does not start with one.
  bool add_prefix_space() const { return add_prefix_space_; }
  const std::optional<Metaspace>& metaspace() const { return metaspace_; }
  // Whether the pieces are the text, byte for byte.
  bool changes_nothing() const;

  enum class Place {
    kFirst,      // the text begins here
    kLater,      // after an added token
    kContinues,  // goes on from a text that was cut: nothing is put in front
  };
  // Calls `piece` for each piece in order; together they are the text (with the prefix space, if that is asked for, and
  // without what is removed).
  // Throws kInvalid when a pattern takes too long on this text.
  void split(std::string_view text, Place place, Scratch& scratch,
             const std::function<void(std::string_view piece)>& piece) const;
  void split(std::string_view text, const std::function<void(std::string_view piece)>& piece) const;

 private:
  struct Compiled;
  class Matcher;
  void split_metaspace(std::string_view text, Place place, const std::function<void(std::string_view)>& piece) const;
  // `seen`: the text as the expressions see it, byte by byte.
  void split_valid(std::string_view text, std::string_view seen, std::size_t step, std::vector<Matcher>& matchers,
                   const std::function<void(std::string_view)>& piece) const;

  std::vector<Cut> cuts_;
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
