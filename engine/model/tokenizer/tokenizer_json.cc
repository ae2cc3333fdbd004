#include "engine/model/tokenizer/tokenizer_json.h"

#include <unordered_map>
#include <unordered_set>

#include "common/error.h"
#include "common/json.h"
#include "engine/model/tokenizer/byte_alphabet.h"

namespace athanor::model {

namespace {

constexpr std::size_t kPreTokenizersMax = 16;

class Reader {
 public:
  explicit Reader(std::string_view source) : source_(source) {}

  Tokenizer read(const json::value& document) const {
    if (!document.is_object()) refuse("it is no JSON object");
    const json::object& root = document.get_object();
    if (json::find_object(root, "normalizer") != nullptr) refuse("it has a normalizer, which is not supported");
    const json::object* model = json::find_object(root, "model");
    if (model == nullptr) refuse("it has no \"model\"");
    std::vector<AddedToken> added = read_added(root);
    Bpe bpe = read_bpe(*model, added);
    return Tokenizer(std::move(bpe), read_pretokenizer(root), std::move(added));
  }

  template <typename... Args>
  [[noreturn]] void refuse(fmt::format_string<Args...> why, Args&&... args) const {
    throw Error(ErrorKind::kInvalid, "{} is no tokenizer that can be used: {}", source_,
                fmt::format(why, std::forward<Args>(args)...));
  }

 private:
  std::vector<AddedToken> read_added(const json::object& root) const {
    std::vector<AddedToken> added;
    const json::array* list = json::find_array(root, "added_tokens");
    if (list == nullptr) return added;
    for (const json::value& item : *list) {
      if (!item.is_object()) refuse("an added token is no object");
      const json::object& token = item.get_object();
      AddedToken read{json::get_string(token, "content"), read_id(json::get_int(token, "id")),
                      json::find_bool(token, "special").value_or(false)};
      for (const char* option : {"lstrip", "rstrip", "single_word"}) {
        if (json::find_bool(token, option).value_or(false)) {
          refuse("its added token \"{}\" asks for {}, which is not supported", read.content, option);
        }
      }
      added.push_back(std::move(read));
    }
    return added;
  }

  TokenId read_id(std::int64_t id) const {
    if (id < 0 || id >= Bpe::kIdMax) refuse("it has a token with id {}; ids must be 0 to {}", id, Bpe::kIdMax - 1);
    return static_cast<TokenId>(id);
  }

  Bpe read_bpe(const json::object& model, const std::vector<AddedToken>& added) const {
    const std::string type = json::find_string(model, "type").value_or("BPE");
    if (type != "BPE") refuse("its model is \"{}\", not \"BPE\"", type);
    for (const char* option : {"continuing_subword_prefix", "end_of_word_suffix"}) {
      if (!json::find_string(model, option).value_or("").empty()) refuse("it uses {}, which is not supported", option);
    }
    if (json::find_bool(model, "byte_fallback").value_or(false)) {
      refuse("it is a BPE on characters with byte_fallback; only BPE on bytes is supported");
    }
    if (json::find_double(model, "dropout").value_or(0) != 0) refuse("it uses dropout, which is not supported");

    std::unordered_set<std::string_view> added_contents;
    for (const AddedToken& token : added) added_contents.insert(token.content);
    const json::object* vocab = json::find_object(model, "vocab");
    if (vocab == nullptr) refuse("its model has no \"vocab\"");
    std::vector<std::pair<std::string, TokenId>> vocabulary;
    std::unordered_map<std::string_view, TokenId> ids;
    vocabulary.reserve(vocab->size());
    for (const auto& entry : *vocab) {
      const std::string_view key(entry.key().data(), entry.key().size());
      if (!entry.value().is_int64()) refuse("its token \"{}\" has no whole number as id", key);
      const TokenId id = read_id(entry.value().get_int64());
      if (added_contents.count(key) != 0) continue;
      std::optional<std::string> bytes = alphabet_to_bytes(key);
      if (!bytes) refuse("its token \"{}\" is not written in the byte alphabet, so it is no BPE on bytes", key);
      ids.emplace(key, id);
      vocabulary.emplace_back(std::move(*bytes), id);
    }

    const json::array* list = json::find_array(model, "merges");
    if (list == nullptr) refuse("its model has no \"merges\"");
    std::vector<std::pair<TokenId, TokenId>> merges;
    merges.reserve(list->size());
    for (const json::value& item : *list) {
      const auto [left, right] = read_merge(item);
      const auto left_id = ids.find(left);
      const auto right_id = ids.find(right);
      if (left_id == ids.end() || right_id == ids.end()) {
        refuse("its merge \"{}\" + \"{}\" joins tokens that the vocabulary lacks", left, right);
      }
      merges.emplace_back(left_id->second, right_id->second);
    }
    return Bpe(vocabulary, std::move(merges), json::find_bool(model, "ignore_merges").value_or(false));
  }

  std::pair<std::string_view, std::string_view> read_merge(const json::value& item) const {
    if (item.is_string()) {
      const std::string_view text(item.get_string().data(), item.get_string().size());
      const auto space = text.find(' ');
      if (space == std::string_view::npos || space == 0 || space + 1 == text.size()) {
        refuse("its merge \"{}\" is not two tokens", text);
      }
      return {text.substr(0, space), text.substr(space + 1)};
    }
    if (item.is_array() && item.get_array().size() == 2 && item.get_array()[0].is_string() &&
        item.get_array()[1].is_string()) {
      const auto view = [&](std::size_t i) -> std::string_view {
        const auto& text = item.get_array()[i].get_string();
        return {text.data(), text.size()};
      };
      return {view(0), view(1)};
    }
    refuse("one of its merges is neither \"a b\" nor [\"a\", \"b\"]");
  }

  PreTokenizer read_pretokenizer(const json::object& root) const {
    const json::object* top = json::find_object(root, "pre_tokenizer");
    if (top == nullptr) refuse("it has no pre_tokenizer; a BPE on bytes has \"ByteLevel\"");
    std::vector<std::string> patterns;
    bool prefix_space = false;
    bool byte_level = false;
    if (json::find_string(*top, "type") == "Sequence") {
      const json::array* steps = json::find_array(*top, "pretokenizers");
      if (steps == nullptr || steps->size() > kPreTokenizersMax) refuse("its pre_tokenizer is no sequence");
      for (const json::value& step : *steps) {
        if (!step.is_object()) refuse("a step of its pre_tokenizer is no object");
        read_step(step.get_object(), patterns, prefix_space, byte_level);
      }
    } else {
      read_step(*top, patterns, prefix_space, byte_level);
    }
    if (!byte_level) refuse("its pre_tokenizer has no \"ByteLevel\"");
    return PreTokenizer(std::move(patterns), prefix_space);
  }

  void read_step(const json::object& step, std::vector<std::string>& patterns, bool& prefix_space,
                 bool& byte_level) const {
    const std::string type = json::find_string(step, "type").value_or("");
    if (byte_level) refuse("its pre_tokenizer goes on after \"ByteLevel\" with \"{}\"", type);
    if (type == "ByteLevel") {
      byte_level = true;
      prefix_space = json::find_bool(step, "add_prefix_space").value_or(true);
      if (prefix_space && !patterns.empty()) refuse("it adds a prefix space to every piece, which is not supported");
      if (json::find_bool(step, "use_regex").value_or(true)) patterns.emplace_back(kGpt2Pattern);
    } else if (type == "Digits") {
      patterns.emplace_back(json::find_bool(step, "individual_digits").value_or(false) ? R"(\p{N})" : R"(\p{N}+)");
    } else if (type == "Split") {
      const json::object* pattern = json::find_object(step, "pattern");
      const std::string behavior = json::find_string(step, "behavior").value_or("");
      const std::optional<std::string> regex = pattern ? json::find_string(*pattern, "Regex") : std::nullopt;
      if (!regex || behavior != "Isolated" || json::find_bool(step, "invert").value_or(false)) {
        refuse("its pre_tokenizer splits otherwise than by an isolated Regex, which is not supported");
      }
      patterns.push_back(*regex);
    } else {
      refuse("its pre_tokenizer has a step \"{}\", which is not supported", type);
    }
  }

  const std::string source_;
};

std::string quoted(std::string_view text) { return json::serialize(json::value(boost::json::string(text))); }

json::value pretokenizer_json(const PreTokenizer& pretokenizer) {
  const auto byte_level = [&](bool use_regex) {
    return json::object{{"type", "ByteLevel"},
                        {"add_prefix_space", pretokenizer.add_prefix_space()},
                        {"trim_offsets", true},
                        {"use_regex", use_regex}};
  };
  const std::vector<std::string>& patterns = pretokenizer.patterns();
  if (patterns.size() == 1 && patterns[0] == kGpt2Pattern) return byte_level(true);
  json::array steps;
  for (const std::string& pattern : patterns) {
    steps.push_back(json::object{
        {"type", "Split"}, {"pattern", {{"Regex", pattern}}}, {"behavior", "Isolated"}, {"invert", false}});
  }
  steps.push_back(byte_level(false));
  return json::object{{"type", "Sequence"}, {"pretokenizers", std::move(steps)}};
}

json::object added_json(const AddedToken& token) {
  return {{"content", token.content}, {"single_word", false}, {"lstrip", false},
          {"rstrip", false},          {"normalized", false},  {"special", token.special}};
}

}  // namespace

Tokenizer tokenizer_from_json(std::string_view text, std::string_view source) {
  const json::value document = json::parse(text, source);
  const Reader reader(source);
  try {
    return reader.read(document);
  } catch (const Error& error) {
    if (std::string_view(error.what()).substr(0, source.size()) == source) throw;
    reader.refuse("{}", error.what());
  }
}

std::string tokenizer_to_json(const Tokenizer& tokenizer) {
  json::array added;
  for (const AddedToken& token : tokenizer.added()) {
    json::object item = added_json(token);
    item["id"] = token.id;
    added.push_back(std::move(item));
  }
  const json::object byte_level{
      {"type", "ByteLevel"}, {"add_prefix_space", true}, {"trim_offsets", false}, {"use_regex", true}};

  // One token and one merge a line: tokenizers are read, compared and searched by people too.
  const Bpe& bpe = tokenizer.bpe();
  std::string text = "{\n\"version\": \"1.0\",\n\"truncation\": null,\n\"padding\": null,\n\"added_tokens\": ";
  text += json::serialize(added);
  text += ",\n\"normalizer\": null,\n\"pre_tokenizer\": " + json::serialize(pretokenizer_json(tokenizer.pretokenizer()));
  text += ",\n\"post_processor\": " + json::serialize(byte_level);
  text += ",\n\"decoder\": " + json::serialize(byte_level);
  text += ",\n\"model\": {\n\"type\": \"BPE\",\n\"dropout\": null,\n\"unk_token\": null,\n";
  text += "\"continuing_subword_prefix\": null,\n\"end_of_word_suffix\": null,\n\"fuse_unk\": false,\n";
  text += "\"byte_fallback\": false,\n\"ignore_merges\": ";
  text += bpe.whole_pieces_first() ? "true" : "false";
  text += ",\n\"vocab\": {";
  const char* separator = "\n";
  for (TokenId id = 0; id < bpe.id_end(); ++id) {
    if (!bpe.has(id)) continue;
    text += separator + quoted(bytes_to_alphabet(bpe.bytes(id))) + ": " + std::to_string(id);
    separator = ",\n";
  }
  // Hugging Face wants the specials in the vocabulary as well, or it numbers them anew.
  for (const AddedToken& token : tokenizer.added()) {
    if (bpe.has(token.id)) continue;
    text += separator + quoted(token.content) + ": " + std::to_string(token.id);
  }
  text += "\n},\n\"merges\": [";
  separator = "\n";
  for (const auto& [left, right] : bpe.merges()) {
    text += separator;
    text += "[" + quoted(bytes_to_alphabet(bpe.bytes(left))) + ", " + quoted(bytes_to_alphabet(bpe.bytes(right))) + "]";
    separator = ",\n";
  }
  text += "\n]\n}\n}\n";
  return text;
}

Tokenizer load_tokenizer(Files& files, const std::string& folder) {
  const std::string path = folder + "/tokenizer.json";
  if (!files.stat(path)) {
    throw Error(ErrorKind::kNotFound, "{} does not exist: {} holds no tokenizer", path, folder);
  }
  return tokenizer_from_json(files.read_all(path), path);
}

void save_tokenizer(Files& files, const std::string& folder, const Tokenizer& tokenizer, std::int64_t context) {
  files.replace(folder + "/tokenizer.json", tokenizer_to_json(tokenizer));
  json::object config{{"tokenizer_class", "PreTrainedTokenizerFast"},
                      {"model_max_length", context},
                      {"clean_up_tokenization_spaces", false}};
  if (const auto end = tokenizer.end_of_text()) {
    for (const AddedToken& token : tokenizer.added()) {
      if (token.id != *end) continue;
      config["eos_token"] = token.content;
      config["pad_token"] = token.content;
    }
  }
  json::object decoder;
  for (const AddedToken& token : tokenizer.added()) decoder[std::to_string(token.id)] = added_json(token);
  config["added_tokens_decoder"] = std::move(decoder);
  files.replace(folder + "/tokenizer_config.json", json::serialize(config) + "\n");
}

}  // namespace athanor::model
