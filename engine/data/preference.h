// A line of a JSONL file for direct preference optimisation: two answers to one prompt, the better and the worse.
//
//   {"prompt": "…", "chosen": "…", "rejected": "…"}                      texts
//   {"prompt": [messages], "chosen": [messages], "rejected": [messages]}
//   {"chosen": …, "rejected": …}                                         either, the prompt is what both begin with
//   {"prompt": "…", "chosen": [messages], "rejected": [messages]}        what the user says, unless both begin with that
//
// as TRL's datasets have them. Messages, "tools" and "chat_template_kwargs" are those of example.h. Other fields are left alone. An answer
// of text may be empty: then it is to say nothing.
#pragma once

#include <string_view>

#include "engine/data/conversation.h"

namespace athanor::data {

struct Preference {
  Example chosen;  // a Completion or a Conversation, with the same prompt as
  Example rejected;
};

// `source` names the line in errors ("pairs.jsonl, line 17"). Throws kInvalid with what is wrong and what would do.
Preference parse_preference(std::string_view line, std::string_view source);

}  // namespace athanor::data
