// llama2.c's model files: seven little-endian int32 (hidden size, feed-forward size, layers, heads, key/value heads,
// vocabulary, longest sequence; a negative vocabulary means a head of its own), then float32 tensors without names, each
// kind for all layers together:
//
//   embedding; attention norms; q, k, v, o; feed-forward norms; gate; down; up; last norm; two RoPE tables; the head
//
// The query and key matrices are in Meta's layout (model_source.h). The file's size must be what the header makes it.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "engine/model/model_source.h"

namespace athanor::model {

// Throws kNotFound, kDenied, kInvalid.
std::unique_ptr<ModelSource> open_llama2c(const std::string& path);

// The shape that the first bytes of a file of `file_bytes` tell. `source` names it in errors. Throws kInvalid.
Config llama2c_config(std::string_view start, std::uint64_t file_bytes, std::string_view source);

}  // namespace athanor::model
