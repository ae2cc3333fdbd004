// Chats as the text that a model was taught to read, by the Jinja template that its checkpoint ships, and where in that
// text the answers stand, so that training can put its loss on them alone.
//
// The language is Jinja's as chat templates use it (jinja/syntax.h), with what `transformers` adds: raise_exception,
// strftime_now, tojson without escapes, break and continue, {% generation %}. What is not supported is refused by line
// and name.
#pragma once

#include <cstdint>
#include <ctime>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "common/json.h"
#include "engine/model/tokenizer/tokenizer.h"

namespace athanor::model {

struct ChatOptions {
  bool add_generation_prompt = false;         // end with what comes before an answer
  std::map<std::string, std::string> tokens;  // "bos_token", "eos_token", …, by the names that templates know
  std::vector<std::string> specials;          // all special tokens: the one that follows an answer belongs to it
  json::value tools;                          // null, or a list of JSON schemas
  json::object variables;                     // anything else that the template sees ("enable_thinking")
  std::time_t now = 0;                        // for strftime_now(): as local_time() gives it
};
// The tokens and specials of a tokenizer. `now`: what a template that dates its chats takes for today; whoever is to write
// the same chats again keeps it.
ChatOptions chat_options(const Tokenizer& tokenizer, std::time_t now);
// What a clock on the wall shows here at `seconds` since 1970, as seconds since it showed 1970: kept so, it names the same
// day and hour in any time zone.
std::time_t local_time(std::time_t seconds);

// Bytes [begin, end) of the text: from what would be the end of a prompt to the token that ends the answer, included.
struct ChatSpan {
  std::string role;
  std::size_t begin = 0, end = 0;
};

struct RenderedChat {
  std::string text;
  std::vector<ChatSpan> answers;  // in order, of the role "assistant"
};

class ChatTemplate {
 public:
  // Throws kInvalid, naming the line.
  explicit ChatTemplate(std::string_view source);
  ~ChatTemplate();
  ChatTemplate(ChatTemplate&&) noexcept;

  // `messages`: objects with "role", "content" and what else the template reads. Throws kInvalid: the template fails,
  // or refuses the conversation. May be called from several threads.
  RenderedChat render(const json::array& messages, const ChatOptions& options) const;

 private:
  struct Parsed;
  std::unique_ptr<const Parsed> parsed_;
};

struct ChatTokens {
  std::vector<TokenId> ids;
  std::vector<std::uint8_t> answer;  // of each id: 1 in an answer
};
// The tokens of a rendered chat. Answers begin with a new token, as they do when a model generates them. BOS and EOS are
// the template's business.
ChatTokens encode_chat(const Tokenizer& tokenizer, const RenderedChat& chat);

}  // namespace athanor::model
