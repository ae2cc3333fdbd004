// A line of a JSONL file for instruction tuning, one of:
//
//   {"messages": [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}]}
//   {"prompt": "…", "completion": "…"}        or both as lists of messages
//   {"text": "…"}
//
// Messages may have more than a role and a content: an answer that calls tools has "tool_calls" (a list), and then its content may
// be null or missing. Beside messages may stand "tools" (a list of JSON schemas, or one as text) and "chat_template_kwargs" (an
// object: variables for the template). Other fields are left alone.
#pragma once

#include <string>
#include <string_view>

#include "common/json.h"
#include "engine/data/conversation.h"

namespace athanor::data {

// `source` names the line in errors ("chats.jsonl, line 17"). Throws kInvalid with what is wrong and what would do.
Example parse_example(std::string_view line, std::string_view source);

// The messages of field `key`; throws kInvalid, without a source. For what else is made of messages.
std::vector<Message> messages_of(const json::object& from, std::string_view key);
// "tools" and "chat_template_kwargs" beside messages; null and empty where the line has none. Throw as messages_of().
json::value tools_of(const json::object& from);
json::object variables_of(const json::object& from);

}  // namespace athanor::data
