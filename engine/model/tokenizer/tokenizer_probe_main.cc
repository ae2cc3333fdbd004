// A program for the tokenizers' comparison with `tokenizers` and `sentencepiece` (tests/engine):
//
//   tokenizer-probe encode TOKENIZER [with-specials] [plain]   texts on standard input, ids on standard output
//   tokenizer-probe decode TOKENIZER [with-specials]           ids on standard input, texts on standard output
//   tokenizer-probe save TOKENIZER FOLDER                      reads a tokenizer and saves it again
//   tokenizer-probe chat TOKENIZER|-                           chats as text
//
// Texts and ids come as a u32 length in bytes and so many bytes (ids are i32), little-endian, one after the other. TOKENIZER
// is what load_tokenizer() takes. `plain`: special tokens in a text are text. Encoding ends with the seconds that it took, on
// standard error. A chat is a line of JSON with "messages" and, as wanted, "template" (else the tokenizer's), "tools", "variables", "tokens",
// "add_generation_prompt", "now"; its answer is one with "text" and "answers", or with "error".
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <iostream>
#include <optional>
#include <string>
#include <vector>

#include "common/error.h"
#include "common/files.h"
#include "common/json.h"
#include "engine/model/tokenizer/chat_templates.h"
#include "engine/model/tokenizer/tokenizer_files.h"
#include "engine/model/tokenizer/tokenizer_gguf.h"

namespace athanor {
namespace {

bool take(std::string& item) {
  std::uint32_t size = 0;
  const std::size_t read = std::fread(&size, 1, sizeof size, stdin);
  if (read == 0) return false;
  item.resize(read == sizeof size ? size : 0);
  if (read < sizeof size || std::fread(item.data(), 1, size, stdin) != size) {
    throw Error(ErrorKind::kInvalid, "Probing: the input ends inside an item");
  }
  return true;
}

void give(const void* data, std::size_t bytes) {
  const auto size = static_cast<std::uint32_t>(bytes);
  std::fwrite(&size, sizeof size, 1, stdout);
  std::fwrite(data, 1, bytes, stdout);
}

template <typename T>
std::vector<T> list_of(const json::object& from, const char* name) {
  const json::array* list = json::find_array(from, name);
  return list ? boost::json::value_to<std::vector<T>>(boost::json::value(*list)) : std::vector<T>();
}

model::Tokenizer load(Files& files, const std::string& path) {
  if (!path.ends_with(".gguf.json")) return model::load_tokenizer(files, path);
  const json::value document = json::parse(files.read_all(path), path);
  const json::object& given = document.as_object();
  return model::Tokenizer(
      model::tokenizer_parts_from_gguf({.model = json::get_string(given, "model"),
                                        .pre = json::find_string(given, "pre").value_or(""),
                                        .tokens = list_of<std::string>(given, "tokens"),
                                        .merges = list_of<std::string>(given, "merges"),
                                        .scores = list_of<float>(given, "scores"),
                                        .types = list_of<std::int32_t>(given, "types"),
                                        .bos_token_id = json::find_int(given, "bos_token_id"),
                                        .eos_token_id = json::find_int(given, "eos_token_id"),
                                        .add_bos_token = json::find_bool(given, "add_bos_token"),
                                        .add_space_prefix = json::find_bool(given, "add_space_prefix"),
                                        .chat_template = json::find_string(given, "chat_template").value_or("")}));
}

std::string chat(const std::string& line, const model::Tokenizer* tokenizer) {
  const json::value parsed = json::parse(line, "a chat");
  const json::object& given = parsed.as_object();
  try {
    model::ChatOptions options = tokenizer ? model::chat_options(*tokenizer, 0) : model::ChatOptions();
    options.add_generation_prompt = json::find_bool(given, "add_generation_prompt").value_or(false);
    options.now = model::local_time(json::find_int(given, "now").value_or(0));
    if (const json::value* tools = given.if_contains("tools")) options.tools = *tools;
    if (const json::object* variables = json::find_object(given, "variables")) options.variables = *variables;
    if (const json::object* tokens = json::find_object(given, "tokens")) {
      for (const auto& token : *tokens) {
        options.tokens[std::string(token.key())] = std::string(token.value().as_string());
      }
    }
    const auto source = json::find_string(given, "template");
    const json::array& messages = *json::find_array(given, "messages");
    const model::RenderedChat rendered = source ? model::ChatTemplate(*source).render(messages, options)
                                                : model::ChatTemplates(*tokenizer).render(messages, options);
    json::array answers;
    for (const model::ChatSpan& span : rendered.answers) {
      answers.push_back(json::array{json::value(span.role), span.begin, span.end});
    }
    json::object result{{"text", rendered.text}, {"answers", std::move(answers)}};
    if (tokenizer) {
      const model::ChatTokens tokens = model::encode_chat(*tokenizer, rendered);
      result["ids"] = json::array(tokens.ids.begin(), tokens.ids.end());
      result["in_answer"] = json::array(tokens.answer.begin(), tokens.answer.end());
    }
    return json::serialize(result);
  } catch (const Error& error) {
    return json::serialize(json::object{{"error", error.what()}});
  }
}

int run(const std::vector<std::string>& arguments) {
  if (arguments.size() < 2) throw Error(ErrorKind::kInvalid, "Probing: OPERATION TOKENIZER ... expected");
  const auto has = [&](const char* word) {
    return std::find(arguments.begin(), arguments.end(), word) != arguments.end();
  };
  SystemFiles files;
  if (arguments[0] == "chat") {
    std::optional<model::Tokenizer> tokenizer;
    if (arguments[1] != "-") tokenizer = load(files, arguments[1]);
    for (std::string line; std::getline(std::cin, line);) {
      std::cout << chat(line, tokenizer ? &*tokenizer : nullptr) << "\n";
    }
    return 0;
  }
  const model::Tokenizer tokenizer = load(files, arguments[1]);
  std::string item;
  if (arguments[0] == "encode") {
    model::Encoder encoder(tokenizer);
    std::vector<model::TokenId> ids;
    std::chrono::duration<double> spent{0};
    while (take(item)) {
      const auto begin = std::chrono::steady_clock::now();
      ids.clear();
      encoder.encode(item, ids, {.with_specials = has("with-specials"), .specials_in_text = !has("plain")});
      spent += std::chrono::steady_clock::now() - begin;
      give(ids.data(), ids.size() * sizeof ids[0]);
    }
    std::fprintf(stderr, "%.6f\n", spent.count());
  } else if (arguments[0] == "decode") {
    while (take(item)) {
      std::vector<model::TokenId> ids(item.size() / sizeof(model::TokenId));
      std::memcpy(ids.data(), item.data(), ids.size() * sizeof ids[0]);
      const std::string text = tokenizer.decode(ids, has("with-specials"));
      give(text.data(), text.size());
    }
  } else if (arguments[0] == "save" && arguments.size() == 3) {
    std::filesystem::create_directories(arguments[2]);
    model::save_tokenizer(files, arguments[2], tokenizer, 4096);
  } else {
    throw Error(ErrorKind::kInvalid, "Probing: no operation {}", arguments[0]);
  }
  return 0;
}

}  // namespace
}  // namespace athanor

int main(int argc, char** argv) {
  try {
    return athanor::run({argv + 1, argv + argc});
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
