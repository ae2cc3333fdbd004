// Tokens that are recognised as a whole in text, before anything else cuts it: Hugging Face's added tokens, with the
// meaning that `tokenizers` gives to their flags.
#pragma once

#include <array>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/model/tokenizer/subwords.h"

namespace athanor::model {

struct AddedToken {
  std::string content;
  TokenId id = 0;
  bool special = true;       // controls; decode() can leave it out
  bool lstrip = false;       // takes the white space before it along
  bool rstrip = false;       // and after it
  bool single_word = false;  // not inside a word
  bool normalized = false;   // looked for in the normalized text, by its own normalized content
};

// Finds any of a set of contents in text. Immutable and shared by threads.
class AddedTokenMatcher {
 public:
  struct Entry {
    std::string content;
    bool lstrip = false, rstrip = false, single_word = false, special = false;
  };
  AddedTokenMatcher() = default;
  // Empty contents are never found.
  explicit AddedTokenMatcher(std::vector<Entry> entries);

  bool empty() const { return order_.empty(); }
  // Calls `part` for each part of a text in order: an entry's number, or -1 for what lies between. Of the contents that
  // start at the same place the longest is taken, the leftmost place first; without `specials`, one that is special is
  // what lies between.
  void for_each_part(std::string_view text, const std::function<void(std::string_view part, int entry)>& part,
                     bool specials = true) const;

 private:
  int longest_at(std::string_view text) const;

  std::vector<Entry> entries_;
  std::vector<int> order_;                 // by first byte, then the longest first
  std::array<std::int32_t, 257> first_{};  // where each first byte's entries begin in order_
  std::vector<bool> seconds_;              // by two bytes: whether any content starts with them
};

}  // namespace athanor::model
