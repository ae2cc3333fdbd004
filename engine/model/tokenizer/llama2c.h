// The tokenizer format of llama2.c (tok512.bin): little-endian, u32 longest piece, then for each token in order of its
// id a float32 score, an i32 length and that many bytes. Pieces write a space as a space. Ids 1 and 2 are BOS and EOS,
// 0 is unknown, 3 to 258 are the bytes.
#pragma once

#include <string_view>

#include "engine/model/tokenizer/tokenizer.h"

namespace athanor::model {

// `source` names it in errors. Throws kInvalid for anything that is damaged.
TokenizerParts tokenizer_parts_from_llama2c(std::string_view contents, std::string_view source);

}  // namespace athanor::model
