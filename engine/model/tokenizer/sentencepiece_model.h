// What a tokenizer.model says (sentencepiece_model.proto), read before sentencepiece's library is given it: which kind it
// is, and whether the library may walk its tables, which it does without looking at their bounds.
#pragma once

#include <string_view>
#include <vector>

namespace athanor::model {

struct SentencePieceModel {
  bool bpe = false;
  bool plain = false;              // text is not normalized, spaces are kept and come before words, no id is unused
  bool prefix = true;              // a space is put before a text
  std::vector<bool> user_defined;  // by id: found in text as a whole, before anything merges
};
// `model`: the contents of a file. Throws kInvalid for what is no such message, and as check_charsmap() does.
SentencePieceModel read_sentencepiece_model(std::string_view model);

// A normalizer's precompiled_charsmap: the bytes of a double array (Aoe, 1989; as Darts-clone has it) as u32, the array,
// and the texts that its values point to, each with a zero at its end. Throws kInvalid where a walk along the array may
// leave it, a value the texts, or where more keys begin each other than the library keeps (32).
void check_charsmap(std::string_view charsmap);

}  // namespace athanor::model
