// What is done to a text before it is cut: Unicode's normal forms (Qwen: NFC), by the tables of `tokenizers`, a prefix and
// replacements (Llama-2: "▁" for a space, and one in front). Other steps leave bytes that are no characters as they are.
// Immutable and shared by threads.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace athanor::model {

struct NormalizerStep {
  enum class Kind {
    kNfc,
    kNfd,
    kNfkc,
    kNfkd,
    kPrepend,  // `text`, in front of a text, unless it is empty or goes on from another
    kReplace,  // every `from` by `text`
    kRepair,   // every byte that belongs to no character by U+FFFD, as sentencepiece does
  };
  Kind kind = Kind::kNfc;
  std::string text{}, from{};
};

class Normalizer {
 public:
  Normalizer() = default;
  // Throws kInvalid: a replacement of nothing.
  explicit Normalizer(std::vector<NormalizerStep> steps);

  const std::vector<NormalizerStep>& steps() const { return steps_; }
  // The normalized text: `text` itself, or a view into `scratch`. `continues`: `text` goes on from one that was
  // normalized before, so that nothing is prepended.
  std::string_view apply(std::string_view text, std::string& scratch, bool continues = false) const;

 private:
  std::vector<NormalizerStep> steps_;
};

}  // namespace athanor::model
