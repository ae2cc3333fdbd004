#include "engine/model/tokenizer/tokenizer_json.h"

#include <algorithm>
#include <unordered_map>
#include <unordered_set>

#include "common/error.h"
#include "common/json.h"
#include "engine/model/tokenizer/byte_alphabet.h"
#include "engine/model/tokenizer/character_bpe.h"

namespace athanor::model {

namespace {

constexpr std::size_t kStepsMax = 16;
// What "Digits" cuts: by Unicode 17, while the expressions of `tokenizers` know Unicode 16.
constexpr const char* kNumber = R"([\p{N}\x{11de0}-\x{11de9}\x{16ff4}-\x{16ff6}])";

std::string_view view(const boost::json::string& text) { return {text.data(), text.size()}; }

class Reader {
 public:
  explicit Reader(std::string_view source) : source_(source) {}

  TokenizerParts read(const json::value& document) {
    if (!document.is_object()) refuse("it is no JSON object");
    const json::object& root = document.get_object();
    const json::object* model = json::find_object(root, "model");
    if (model == nullptr) refuse("it has no \"model\"");
    read_added(root);
    read_normalizer(root);
    const bool on_bytes = read_pretokenizer(root);
    check_model(*model);
    on_bytes ? read_byte_bpe(*model) : read_character_bpe(*model);
    read_post_processor(root);
    read_decoder(root, on_bytes);
    return std::move(parts_);
  }

  template <typename... Args>
  [[noreturn]] void refuse(fmt::format_string<Args...> why, Args&&... args) const {
    throw Error(ErrorKind::kInvalid, "{} is no tokenizer that can be used: {}", source_,
                fmt::format(why, std::forward<Args>(args)...));
  }

 private:
  void read_added(const json::object& root) {
    const json::array* list = json::find_array(root, "added_tokens");
    if (list == nullptr) return;
    for (const json::value& item : *list) {
      if (!item.is_object()) refuse("an added token is no object");
      const json::object& token = item.get_object();
      const auto flag = [&](const char* name) { return json::find_bool(token, name).value_or(false); };
      parts_.added.push_back({.content = json::get_string(token, "content"),
                              .id = read_id(json::get_int(token, "id")),
                              .special = flag("special"),
                              .lstrip = flag("lstrip"),
                              .rstrip = flag("rstrip"),
                              .single_word = flag("single_word"),
                              .normalized = flag("normalized")});
    }
  }

  TokenId read_id(std::int64_t id) const {
    if (id < 0 || id >= kTokenIdMax) refuse("it has a token with id {}; ids must be 0 to {}", id, kTokenIdMax - 1);
    return static_cast<TokenId>(id);
  }

  // The steps of a part of the pipeline: itself, or those of a "Sequence".
  std::vector<const json::object*> steps_of(const json::object& root, const char* part, const char* list_name) const {
    const json::object* top = json::find_object(root, part);
    if (top == nullptr) return {};
    if (json::find_string(*top, "type") != "Sequence") return {top};
    const json::array* list = json::find_array(*top, list_name);
    if (list == nullptr || list->size() > kStepsMax) {
      refuse("its {} is no sequence of at most {} steps", part, kStepsMax);
    }
    std::vector<const json::object*> steps;
    for (const json::value& step : *list) {
      if (!step.is_object()) refuse("a step of its {} is no object", part);
      steps.push_back(&step.get_object());
    }
    return steps;
  }

  static std::string type_of(const json::object& step) { return json::find_string(step, "type").value_or(""); }

  // {"String": text} or {"Regex": pattern}
  std::optional<std::string> pattern_of(const json::object& step, const char* kind) const {
    const json::object* pattern = json::find_object(step, "pattern");
    return pattern ? json::find_string(*pattern, kind) : std::nullopt;
  }

  void read_normalizer(const json::object& root) {
    std::vector<NormalizerStep> steps;
    for (const json::object* step : steps_of(root, "normalizer", "normalizers")) {
      const std::string type = type_of(*step);
      if (type == "NFC") {
        steps.push_back({.kind = NormalizerStep::Kind::kNfc});
      } else if (type == "NFD") {
        steps.push_back({.kind = NormalizerStep::Kind::kNfd});
      } else if (type == "NFKC") {
        steps.push_back({.kind = NormalizerStep::Kind::kNfkc});
      } else if (type == "NFKD") {
        steps.push_back({.kind = NormalizerStep::Kind::kNfkd});
      } else if (type == "Prepend") {
        steps.push_back({.kind = NormalizerStep::Kind::kPrepend, .text = json::get_string(*step, "prepend")});
      } else if (type == "Replace") {
        const auto from = pattern_of(*step, "String");
        if (!from) refuse("its normalizer replaces by a regular expression, which is not supported");
        steps.push_back(
            {.kind = NormalizerStep::Kind::kReplace, .text = json::get_string(*step, "content"), .from = *from});
      } else {
        refuse("its normalizer has a step \"{}\", which is not supported", type);
      }
    }
    parts_.normalizer = Normalizer(std::move(steps));
  }

  // Whether the tokens are bytes.
  bool read_pretokenizer(const json::object& root) {
    std::vector<PreTokenizer::Cut> cuts;
    bool prefix_space = false, byte_level = false;
    std::optional<PreTokenizer::Metaspace> metaspace;
    for (const json::object* step : steps_of(root, "pre_tokenizer", "pretokenizers")) {
      const std::string type = type_of(*step);
      if (byte_level) refuse("its pre_tokenizer goes on after \"ByteLevel\" with \"{}\"", type);
      if (metaspace) refuse("its pre_tokenizer goes on after \"Metaspace\" with \"{}\", which is not supported", type);
      if (type == "ByteLevel") {
        byte_level = true;
        prefix_space = json::find_bool(*step, "add_prefix_space").value_or(true);
        if (prefix_space && !cuts.empty()) refuse("it adds a prefix space to every piece, which is not supported");
        if (json::find_bool(*step, "use_regex").value_or(true)) cuts.push_back({kGpt2Pattern});
      } else if (type == "Digits") {
        cuts.push_back(
            {json::find_bool(*step, "individual_digits").value_or(false) ? kNumber : std::string(kNumber) + '+'});
      } else if (type == "Split") {
        cuts.push_back(read_split(*step));
      } else if (type == "Metaspace" && cuts.empty()) {
        metaspace = read_metaspace(*step);
      } else {
        refuse("its pre_tokenizer has a step \"{}\", which is not supported", type);
      }
    }
    parts_.pretokenizer = metaspace ? PreTokenizer(std::move(*metaspace)) : PreTokenizer(std::move(cuts), prefix_space);
    return byte_level;
  }

  PreTokenizer::Cut read_split(const json::object& step) const {
    using Behavior = PreTokenizer::Cut::Behavior;
    static constexpr std::pair<std::string_view, Behavior> kBehaviors[] = {{"Isolated", Behavior::kIsolated},
                                                                           {"Removed", Behavior::kRemoved},
                                                                           {"MergedWithPrevious",
                                                                            Behavior::kMergedWithPrevious},
                                                                           {"MergedWithNext",
                                                                            Behavior::kMergedWithNext},
                                                                           {"Contiguous", Behavior::kContiguous}};
    const std::string name = json::find_string(step, "behavior").value_or("");
    const auto behavior = std::find_if(std::begin(kBehaviors), std::end(kBehaviors),
                                       [&](const auto& known) { return known.first == name; });
    if (behavior == std::end(kBehaviors)) {
      refuse("its pre_tokenizer splits with the behavior \"{}\", which is not known", name);
    }
    PreTokenizer::Cut cut{.pattern = "",
                          .behavior = behavior->second,
                          .invert = json::find_bool(step, "invert").value_or(false)};
    if (auto regex = pattern_of(step, "Regex")) {
      cut.pattern = std::move(*regex);
      return cut;
    }
    const auto text = pattern_of(step, "String");
    if (!text || text->empty()) refuse("its pre_tokenizer splits by no pattern");
    for (const char c : *text) {
      if (std::string_view("\\^$.[]|()?*+{}-#").find(c) != std::string_view::npos) cut.pattern += '\\';
      cut.pattern += c;
    }
    return cut;
  }

  PreTokenizer::Metaspace read_metaspace(const json::object& step) const {
    using Prepend = PreTokenizer::Metaspace::Prepend;
    PreTokenizer::Metaspace metaspace{.replacement = json::get_string(step, "replacement"),
                                      .prepend = Prepend::kAlways,
                                      .split = json::find_bool(step, "split").value_or(true)};
    const std::string scheme =
        json::find_string(step, "prepend_scheme")
            .value_or(json::find_bool(step, "add_prefix_space").value_or(true) ? "always" : "never");
    if (scheme == "first") {
      metaspace.prepend = Prepend::kFirst;
    } else if (scheme == "never") {
      metaspace.prepend = Prepend::kNever;
    } else if (scheme != "always") {
      refuse("its Metaspace has the prepend_scheme \"{}\", which is not supported", scheme);
    }
    return metaspace;
  }

  void check_model(const json::object& model) const {
    const std::string type = json::find_string(model, "type").value_or("BPE");
    if (type != "BPE") refuse("its model is \"{}\", not \"BPE\"", type);
    for (const char* option : {"continuing_subword_prefix", "end_of_word_suffix"}) {
      if (!json::find_string(model, option).value_or("").empty()) refuse("it uses {}, which is not supported", option);
    }
    if (json::find_double(model, "dropout").value_or(0) != 0) refuse("it uses dropout, which is not supported");
  }

  const json::object& vocabulary_of(const json::object& model) const {
    const json::object* vocab = json::find_object(model, "vocab");
    if (vocab == nullptr) refuse("its model has no \"vocab\"");
    return *vocab;
  }

  TokenId id_of(std::string_view key, const json::value& id) const {
    if (!id.is_int64()) refuse("its token \"{}\" has no whole number as id", key);
    return read_id(id.get_int64());
  }

  // Added tokens that are no part of words: merges neither make them nor build on them. The others, if the vocabulary has
  // them, are tokens like any other wherever they are not found whole.
  std::unordered_set<std::string> added_apart(const json::object& model) const {
    std::unordered_set<std::string> apart;
    for (const AddedToken& token : parts_.added) apart.insert(token.content);
    const json::array* merges = json::find_array(model, "merges");
    if (merges == nullptr || apart.empty()) return apart;
    for (const json::value& item : *merges) {
      const auto [left, right] = read_merge(item);
      for (const std::string& part : {std::string(left), std::string(right), std::string(left) + std::string(right)}) {
        apart.erase(part);
      }
    }
    return apart;
  }

  void read_byte_bpe(const json::object& model) {
    if (json::find_bool(model, "byte_fallback").value_or(false)) {
      refuse("it asks for byte_fallback, though its pre_tokenizer makes bytes of everything (\"ByteLevel\")");
    }
    const std::unordered_set<std::string> apart = added_apart(model);
    std::vector<std::pair<std::string, TokenId>> vocabulary;
    const json::object& vocab = vocabulary_of(model);
    vocabulary.reserve(vocab.size());
    ids_.reserve(vocab.size());
    for (const auto& entry : vocab) {
      const std::string_view key(entry.key().data(), entry.key().size());
      const TokenId id = id_of(key, entry.value());
      std::optional<std::string> bytes = alphabet_to_bytes(key);
      if (apart.count(std::string(key)) != 0 && !(bytes && bytes->size() == 1)) continue;  // "é" is the sign of a byte
      if (!bytes) refuse("its token \"{}\" is not written in the byte alphabet, so it is no BPE on bytes", key);
      ids_.emplace(key, id);
      vocabulary.emplace_back(std::move(*bytes), id);
    }
    const std::optional<TokenId> unknown = unknown_of(model, vocab);
    if (unknown && json::find_bool(model, "fuse_unk").value_or(false)) {
      refuse("it uses fuse_unk on bytes, which is not supported");
    }
    parts_.subwords = std::make_shared<const Bpe>(vocabulary, read_merges(model),
                                                  json::find_bool(model, "ignore_merges").value_or(false), unknown);
  }

  void read_character_bpe(const json::object& model) {
    if (json::find_bool(model, "ignore_merges").value_or(false)) {
      refuse("it uses ignore_merges without a \"ByteLevel\" pre_tokenizer, which is not supported");
    }
    const bool fallback = json::find_bool(model, "byte_fallback").value_or(false);
    const std::unordered_set<std::string> apart = added_apart(model);
    std::unordered_set<std::string_view> controls;
    for (const AddedToken& token : parts_.added) {
      const bool one_character =
          std::count_if(token.content.begin(), token.content.end(), [](char c) { return (c & 0xc0) != 0x80; }) <= 1;
      if (token.special && apart.count(token.content) != 0 && !one_character) controls.insert(token.content);
    }
    std::vector<CharacterBpe::Token> tokens;
    const json::object& vocab = vocabulary_of(model);
    tokens.reserve(vocab.size());
    ids_.reserve(vocab.size());
    for (const auto& entry : vocab) {
      const std::string_view key(entry.key().data(), entry.key().size());
      const TokenId id = id_of(key, entry.value());
      const bool byte = fallback && key.size() == 6 && key.starts_with("<0x") && key.ends_with('>');
      ids_.emplace(key, id);
      tokens.push_back({std::string(key), id,
                        byte                  ? CharacterBpe::Kind::kByte
                        : controls.count(key) ? CharacterBpe::Kind::kControl
                                              : CharacterBpe::Kind::kText});
    }
    const CharacterBpe::Options options{.space = parts_.pretokenizer.metaspace()
                                                     ? parts_.pretokenizer.metaspace()->replacement
                                                     : std::string(kMetaspace),
                                        .unknown = unknown_of(model, vocab),
                                        .fuse_unknown = json::find_bool(model, "fuse_unk").value_or(false)};
    parts_.subwords = std::make_shared<const CharacterBpe>(std::move(tokens), read_merges(model), options);
  }

  std::optional<TokenId> unknown_of(const json::object& model, const json::object& vocab) const {
    const auto name = json::find_string(model, "unk_token");
    if (!name) return std::nullopt;
    const json::value* id = vocab.if_contains(*name);
    if (id != nullptr) return id_of(*name, *id);
    for (const AddedToken& token : parts_.added) {
      if (token.content == *name) return token.id;
    }
    refuse("its unk_token \"{}\" is not in the vocabulary", *name);
  }

  std::vector<std::pair<TokenId, TokenId>> read_merges(const json::object& model) const {
    const json::array* list = json::find_array(model, "merges");
    if (list == nullptr) refuse("its model has no \"merges\"");
    std::vector<std::pair<TokenId, TokenId>> merges;
    merges.reserve(list->size());
    for (const json::value& item : *list) {
      const auto [left, right] = read_merge(item);
      const auto left_id = ids_.find(left);
      const auto right_id = ids_.find(right);
      if (left_id == ids_.end() || right_id == ids_.end()) {
        refuse("its merge \"{}\" + \"{}\" joins tokens that the vocabulary lacks", left, right);
      }
      merges.emplace_back(left_id->second, right_id->second);
    }
    return merges;
  }

  std::pair<std::string_view, std::string_view> read_merge(const json::value& item) const {
    if (item.is_string()) {
      const std::string_view text = view(item.get_string());
      const auto space = text.find(' ');
      if (space == std::string_view::npos || space == 0 || space + 1 == text.size()) {
        refuse("its merge \"{}\" is not two tokens", text);
      }
      return {text.substr(0, space), text.substr(space + 1)};
    }
    if (item.is_array() && item.get_array().size() == 2 && item.get_array()[0].is_string() &&
        item.get_array()[1].is_string()) {
      return {view(item.get_array()[0].get_string()), view(item.get_array()[1].get_string())};
    }
    refuse("one of its merges is neither \"a b\" nor [\"a\", \"b\"]");
  }

  void read_post_processor(const json::object& root) {
    for (const json::object* step : steps_of(root, "post_processor", "processors")) {
      const std::string type = type_of(*step);
      if (type == "ByteLevel") continue;  // moves offsets, not tokens
      if (type != "TemplateProcessing") refuse("its post_processor has a step \"{}\", which is not supported", type);
      const json::array* single = json::find_array(*step, "single");
      if (single == nullptr) refuse("its post_processor has no template for one text");
      bool after = false;
      for (const json::value& item : *single) {
        if (!item.is_object()) refuse("an item of its post_processor's template is no object");
        if (const json::object* special = json::find_object(item.get_object(), "SpecialToken")) {
          add_special(*step, json::get_string(*special, "id"), after ? parts_.after : parts_.before);
        } else if (json::find_object(item.get_object(), "Sequence") != nullptr && !after) {
          after = true;
        } else {
          refuse("its post_processor's template is not one text with special tokens around it");
        }
      }
    }
  }

  void add_special(const json::object& step, const std::string& name, std::vector<TokenId>& into) const {
    const json::object* specials = json::find_object(step, "special_tokens");
    const json::object* special = specials ? json::find_object(*specials, name) : nullptr;
    const json::array* ids = special ? json::find_array(*special, "ids") : nullptr;
    if (ids == nullptr) refuse("its post_processor names \"{}\" and gives it no ids", name);
    for (const json::value& id : *ids) into.push_back(id_of(name, id));
  }

  // What a decoder does to bytes and spaces is the vocabulary's nature; only whether the first space goes is its choice.
  void read_decoder(const json::object& root, bool on_bytes) {
    for (const json::object* step : steps_of(root, "decoder", "decoders")) {
      const std::string type = type_of(*step);
      if (on_bytes ? type != "ByteLevel" : type == "ByteLevel") {
        refuse("its decoder has a step \"{}\", which does not go with its pre_tokenizer", type);
      }
      if (type == "Strip") {
        if (json::find_string(*step, "content") != " " || json::find_int(*step, "start") != 1 ||
            json::find_int(*step, "stop").value_or(0) != 0) {
          refuse("its decoder strips something else than one space in front, which is not supported");
        }
        parts_.strip_first_space = true;
      } else if (type == "Metaspace") {
        parts_.strip_first_space = json::find_string(*step, "prepend_scheme").value_or("always") != "never";
      } else if (type != "ByteLevel" && type != "Replace" && type != "ByteFallback" && type != "Fuse") {
        refuse("its decoder has a step \"{}\", which is not supported", type);
      }
    }
  }

  const std::string source_;
  TokenizerParts parts_;
  std::unordered_map<std::string_view, TokenId> ids_;  // views into the document
};

}  // namespace

TokenizerParts tokenizer_parts_from_json(std::string_view text, std::string_view source) {
  const json::value document = json::parse(text, source);
  Reader reader(source);
  try {
    TokenizerParts parts = reader.read(document);
    parts.files.emplace("tokenizer.json", text);
    return parts;
  } catch (const Error& error) {
    if (std::string_view(error.what()).substr(0, source.size()) == source) throw;
    reader.refuse("{}", error.what());
  }
}

Tokenizer tokenizer_from_json(std::string_view text, std::string_view source) {
  TokenizerParts parts = tokenizer_parts_from_json(text, source);
  try {
    return Tokenizer(std::move(parts));
  } catch (const Error& error) {
    Reader(source).refuse("{}", error.what());
  }
}

}  // namespace athanor::model
