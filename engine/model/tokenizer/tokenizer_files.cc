#include "engine/model/tokenizer/tokenizer_files.h"

#include <algorithm>
#include <charconv>
#include <unordered_map>

#include "common/error.h"
#include "common/json.h"
#include "engine/model/tokenizer/llama2c.h"
#include "engine/model/tokenizer/sentencepiece.h"
#include "engine/model/tokenizer/tokenizer_json.h"

namespace athanor::model {

namespace {

constexpr const char* kJson = "tokenizer.json";
constexpr const char* kModel = "tokenizer.model";
constexpr const char* kConfig = "tokenizer_config.json";
constexpr const char* kTemplate = "chat_template.jinja";
constexpr const char* kTemplates = "additional_chat_templates/";
constexpr std::string_view kJinja = ".jinja";
constexpr std::string_view kDefault = "default";
constexpr const char* kNamedTokens[] = {"unk_token", "pad_token", "sep_token", "cls_token", "mask_token"};
constexpr const char* kAdded = "added_tokens.json";
constexpr const char* kBeside[] = {kConfig, "special_tokens_map.json", kAdded, kTemplate, "vocab.json", "merges.txt"};

// A token's name, which may be given with its flags.
std::string token_name(const json::object& config, const char* key) {
  const json::value* value = config.if_contains(key);
  if (value == nullptr) return "";
  if (value->is_string()) return std::string(value->get_string());
  return value->is_object() ? json::find_string(value->get_object(), "content").value_or("") : "";
}

// Of tokenizer_config.json: a template, or several with their names.
void read_templates(TokenizerParts& parts, const json::object& config, std::string_view source) {
  const json::value* value = config.if_contains("chat_template");
  if (value == nullptr || value->is_null()) return;
  if (value->is_string()) {
    parts.chat_template = std::string(value->get_string());
    return;
  }
  const auto wrong = [&](std::string_view what) {
    return Error(ErrorKind::kInvalid,
                 "{}/{}: \"chat_template\" {}; it must be a template, or a list of {{\"name\": …, \"template\": …}}",
                 source, kConfig, what);
  };
  if (!value->is_array()) throw wrong("is neither a text nor a list");
  for (const json::value& item : value->get_array()) {
    const auto part = [&](const char* key) {
      return item.is_object() ? json::find_string(item.get_object(), key) : std::nullopt;
    };
    auto name = part("name"), text = part("template");
    if (!name || !text) throw wrong("has an item without a name and a template");
    (*name == kDefault ? parts.chat_template : parts.named_templates[*name]) = std::move(*text);
  }
}

// Templates in files of their own stand for all of tokenizer_config.json's.
void read_template_files(TokenizerParts& parts) {
  std::map<std::string, std::string> named;
  const auto alone = parts.files.find(kTemplate);
  for (const auto& [name, contents] : parts.files) {
    if (!name.starts_with(kTemplates) || !name.ends_with(kJinja)) continue;
    const std::size_t begin = std::string_view(kTemplates).size();
    named[name.substr(begin, name.size() - begin - kJinja.size())] = contents;
  }
  if (alone == parts.files.end() && named.empty()) return;
  parts.chat_template = alone != parts.files.end() ? alone->second : "";
  if (const auto found = named.find(std::string(kDefault)); found != named.end()) {
    parts.chat_template = found->second;
    named.erase(found);
  }
  parts.named_templates = std::move(named);
}

// Whether a tokenizer has files of that name: they are written below a folder, and must not leave it.
bool is_file_name(std::string_view name) {
  if (name == kJson || name == kModel) return true;
  if (std::find(std::begin(kBeside), std::end(kBeside), name) != std::end(kBeside)) return true;
  if (!name.starts_with(kTemplates) || !name.ends_with(kJinja)) return false;
  name.remove_prefix(std::string_view(kTemplates).size());
  return name.size() > kJinja.size() && name.find_first_of(std::string_view("/\0", 2)) == std::string_view::npos;
}

TokenId id_from(std::string_view text, std::string_view source) {
  TokenId id = -1;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), id);
  if (failure != std::errc() || end != text.data() + text.size() || id < 0) {
    throw Error(ErrorKind::kInvalid, "{} has an added token with the id \"{}\", which is no number", source, text);
  }
  return id;
}

// Tokens that Hugging Face adds to a sentencepiece model, which knows nothing of them. A tokenizer.json has them itself.
void read_added(TokenizerParts& parts, const json::object& config, std::string_view source) {
  std::unordered_map<TokenId, std::size_t> places;  // in parts.added, by id
  for (std::size_t i = 0; i < parts.added.size(); ++i) places.emplace(parts.added[i].id, i);
  const auto add = [&](AddedToken token) {
    const auto [known, is_new] = places.emplace(token.id, parts.added.size());
    if (is_new) parts.added.emplace_back();
    parts.added[known->second] = std::move(token);
  };
  if (const auto file = parts.files.find(kAdded); file != parts.files.end()) {
    const std::string name = std::string(source) + "/" + kAdded;
    const json::value document = json::parse(file->second, name);
    if (!document.is_object()) throw Error(ErrorKind::kInvalid, "{} is no JSON object", name);
    for (const auto& entry : document.get_object()) {
      if (!entry.value().is_int64()) {
        throw Error(ErrorKind::kInvalid, "{} gives \"{}\" no number as id", name, std::string_view(entry.key()));
      }
      add({.content = std::string(entry.key()),
           .id = static_cast<TokenId>(std::clamp<std::int64_t>(entry.value().get_int64(), -1, kTokenIdMax))});
    }
  }
  const json::object* list = json::find_object(config, "added_tokens_decoder");
  if (list == nullptr) return;
  for (const auto& entry : *list) {
    if (!entry.value().is_object()) continue;
    const json::object& token = entry.value().get_object();
    const auto flag = [&](const char* name) { return json::find_bool(token, name).value_or(false); };
    add({.content = json::get_string(token, "content"),
         .id = id_from(std::string_view(entry.key()), source),
         .special = flag("special"),
         .lstrip = flag("lstrip"),
         .rstrip = flag("rstrip"),
         .single_word = flag("single_word"),
         .normalized = flag("normalized")});
  }
}

// Llama's tokenizer classes put BOS and EOS around a text by these two flags, whatever tokenizer.json says.
void read_around(TokenizerParts& parts, const json::object& config, bool sentencepiece) {
  const std::string kind = json::find_string(config, "tokenizer_class").value_or("");
  if (!sentencepiece && !kind.starts_with("Llama") && !kind.starts_with("CodeLlama")) return;
  const auto id_of = [&](const std::string& name) -> std::vector<TokenId> {
    for (const AddedToken& token : parts.added) {
      if (token.content == name) return {token.id};
    }
    return {};
  };
  if (const auto wanted = json::find_bool(config, "add_bos_token")) {
    parts.before = *wanted ? id_of(parts.bos) : std::vector<TokenId>();
  }
  if (const auto wanted = json::find_bool(config, "add_eos_token")) {
    parts.after = *wanted ? id_of(parts.eos) : std::vector<TokenId>();
  }
}

void read_config(TokenizerParts& parts, std::string_view source, bool sentencepiece) {
  json::object config;
  if (const auto file = parts.files.find(kConfig); file != parts.files.end()) {
    json::value document = json::parse(file->second, std::string(source) + "/" + kConfig);
    if (!document.is_object()) throw Error(ErrorKind::kInvalid, "{}/{} is no JSON object", source, kConfig);
    config = std::move(document.get_object());
  }
  if (std::string bos = token_name(config, "bos_token"); !bos.empty()) parts.bos = std::move(bos);
  if (std::string eos = token_name(config, "eos_token"); !eos.empty()) parts.eos = std::move(eos);
  for (const char* key : kNamedTokens) {
    if (std::string name = token_name(config, key); !name.empty()) parts.named_tokens[key] = std::move(name);
  }
  read_templates(parts, config, source);
  read_template_files(parts);
  if (sentencepiece) read_added(parts, config, source);
  read_around(parts, config, sentencepiece);
}

json::object added_json(const AddedToken& token) {
  return {{"content", token.content}, {"single_word", token.single_word}, {"lstrip", token.lstrip},
          {"rstrip", token.rstrip},   {"normalized", token.normalized},   {"special", token.special}};
}

std::string config_json(const Tokenizer& tokenizer, std::int64_t context) {
  const TokenizerParts& parts = tokenizer.parts();
  json::object config{{"tokenizer_class", "PreTrainedTokenizerFast"},
                      {"model_max_length", context},
                      {"clean_up_tokenization_spaces", false}};
  std::string eos = parts.eos;
  if (const auto end = tokenizer.end_of_text(); eos.empty() && end) {
    for (const AddedToken& token : tokenizer.added()) {
      if (token.id == *end) eos = token.content;
    }
  }
  if (!parts.bos.empty()) config["bos_token"] = parts.bos;
  if (!eos.empty()) {
    config["eos_token"] = eos;
    config["pad_token"] = eos;
  }
  if (!parts.chat_template.empty()) config["chat_template"] = parts.chat_template;
  if (!parts.named_templates.empty()) {
    json::array list;
    const auto add = [&](std::string_view name, const std::string& text) {
      list.push_back(json::object{{"name", name}, {"template", text}});
    };
    if (!parts.chat_template.empty()) add(kDefault, parts.chat_template);
    for (const auto& [name, text] : parts.named_templates) add(name, text);
    config["chat_template"] = std::move(list);
  }
  json::object decoder;
  for (const AddedToken& token : tokenizer.added()) decoder[std::to_string(token.id)] = added_json(token);
  config["added_tokens_decoder"] = std::move(decoder);
  return json::serialize(config) + "\n";
}

}  // namespace

Tokenizer tokenizer_from_files(TokenizerFiles files, std::string_view source) {
  TokenizerParts parts;
  const bool sentencepiece = files.count(kJson) == 0;
  if (!sentencepiece) {
    parts = tokenizer_parts_from_json(files.at(kJson), std::string(source) + "/" + kJson);
  } else if (const auto model = files.find(kModel); model != files.end()) {
    parts = tokenizer_parts_from_sentencepiece(model->second, std::string(source) + "/" + kModel);
  } else {
    throw Error(ErrorKind::kNotFound, "{} holds no tokenizer: neither {} nor {} is there", source, kJson, kModel);
  }
  parts.files = std::move(files);
  read_config(parts, source, sentencepiece);
  try {
    return Tokenizer(std::move(parts));
  } catch (const Error& error) {
    throw Error(ErrorKind::kInvalid, "{} holds no tokenizer that can be used: {}", source, error.what());
  }
}

TokenizerFiles tokenizer_files(const Tokenizer& tokenizer, std::int64_t context) {
  TokenizerFiles files = tokenizer.parts().files;
  if (files.count(kJson) == 0 && files.count(kModel) == 0) files[kJson] = tokenizer_to_json(tokenizer);
  if (files.count(kConfig) == 0) files[kConfig] = config_json(tokenizer, context);
  return files;
}

Tokenizer load_tokenizer(Files& files, const std::string& path) {
  const auto info = files.stat(path);
  if (!info) throw Error(ErrorKind::kNotFound, "{} does not exist, so it holds no tokenizer", path);
  if (info->type == FileInfo::Type::kFile) {
    const std::string contents = files.read_all(path);
    if (path.ends_with(".json")) return tokenizer_from_json(contents, path);
    if (path.ends_with(".model")) return Tokenizer(tokenizer_parts_from_sentencepiece(contents, path));
    if (path.ends_with(".bin")) return Tokenizer(tokenizer_parts_from_llama2c(contents, path));
    throw Error(ErrorKind::kInvalid,
                "{} is no tokenizer: give a folder with one, a tokenizer.json, a sentencepiece model "
                "(.model) or a llama2.c tokenizer (.bin)",
                path);
  }
  TokenizerFiles read;
  for (const char* name : {kJson, kModel}) {
    if (files.stat(path + "/" + name)) read[name] = files.read_all(path + "/" + name);
  }
  if (read.empty()) {
    throw Error(ErrorKind::kNotFound, "{} holds no tokenizer: neither {} nor {} is there", path, kJson, kModel);
  }
  for (const char* name : kBeside) {
    if (files.stat(path + "/" + name)) read[name] = files.read_all(path + "/" + name);
  }
  if (files.stat(path + "/" + kTemplates)) {
    for (const std::string& name : files.list(path + "/" + kTemplates)) {
      if (is_file_name(kTemplates + name)) read[kTemplates + name] = files.read_all(path + "/" + kTemplates + name);
    }
  }
  return tokenizer_from_files(std::move(read), path);
}

void save_tokenizer(Files& files, const std::string& folder, const Tokenizer& tokenizer, std::int64_t context) {
  for (const auto& [name, contents] : tokenizer_files(tokenizer, context)) {
    ATHANOR_ASSERT(is_file_name(name));
    if (name.starts_with(kTemplates)) files.make_folders(folder + "/" + kTemplates);
    files.replace(folder + "/" + name, contents);
  }
}

Tokenizer with_chat_template(const Tokenizer& tokenizer, std::string chat_template) {
  TokenizerParts parts = tokenizer.parts();
  std::erase_if(parts.files, [](const auto& file) { return file.first.starts_with(kTemplates); });
  if (!parts.files.empty()) parts.files[kTemplate] = chat_template;
  parts.chat_template = std::move(chat_template);
  parts.named_templates.clear();
  return Tokenizer(std::move(parts));
}

std::string tokenizer_definition(const Tokenizer& tokenizer) {
  const TokenizerFiles& files = tokenizer.parts().files;
  const auto model = files.find(kModel);
  return model != files.end() && files.count(kJson) == 0 ? model->second : tokenizer_to_json(tokenizer);
}

std::string pack_tokenizer(const Tokenizer& tokenizer, std::int64_t context) {
  std::string packed;
  for (const auto& [name, contents] : tokenizer_files(tokenizer, context)) {
    packed += fmt::format("{} {}\n", name, contents.size());
    packed += contents;
  }
  return packed;
}

Tokenizer unpack_tokenizer(std::string_view packed) {
  const auto damaged = [](const std::string& why) {
    return Error(ErrorKind::kCorrupt,
                 "A tokenizer that another process handed over, or that a checkpoint keeps, is damaged: {}", why);
  };
  TokenizerFiles files;
  while (!packed.empty()) {
    const std::size_t line = packed.find('\n'),
                      space = packed.substr(0, std::min(line, packed.size())).rfind(' ');  // a name may have spaces
    if (space == std::string_view::npos || line == std::string_view::npos) throw damaged("it is no list of files");
    const char* const end = packed.data() + line;
    std::size_t size = 0;
    const auto [read, failure] = std::from_chars(packed.data() + space + 1, end, size);
    if (failure != std::errc() || read != end || size > packed.size() - line - 1) {
      throw damaged("the size of a file in it is not so");
    }
    const std::string_view name = packed.substr(0, space);
    if (!is_file_name(name)) throw damaged(fmt::format("no tokenizer has a file \"{}\"", name));
    if (!files.emplace(name, packed.substr(line + 1, size)).second) {
      throw damaged(fmt::format("it has two files \"{}\"", name));
    }
    packed.remove_prefix(line + 1 + size);
  }
  return tokenizer_from_files(std::move(files), "the tokenizer handed over");
}

}  // namespace athanor::model
