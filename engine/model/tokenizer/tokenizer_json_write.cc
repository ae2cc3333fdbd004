// The writing half of tokenizer_json.h.
#include <algorithm>

#include "common/error.h"
#include "common/json.h"
#include "engine/model/tokenizer/byte_alphabet.h"
#include "engine/model/tokenizer/character_bpe.h"
#include "engine/model/tokenizer/tokenizer_json.h"

namespace athanor::model {

namespace {

std::string quoted(std::string_view text) { return json::serialize(json::value(boost::json::string(text))); }

json::value sequence(const char* list_name, json::array steps) {
  if (steps.empty()) return nullptr;
  if (steps.size() == 1) return steps[0];
  return json::object{{"type", "Sequence"}, {list_name, std::move(steps)}};
}

json::value normalizer_json(const Normalizer& normalizer) {
  json::array steps;
  for (const NormalizerStep& step : normalizer.steps()) {
    if (step.kind == NormalizerStep::Kind::kReplace) {
      steps.push_back(json::object{{"type", "Replace"}, {"pattern", {{"String", step.from}}}, {"content", step.text}});
    } else if (step.kind == NormalizerStep::Kind::kRepair) {
      continue;  // the text that `tokenizers` gets is never broken
    } else if (step.kind == NormalizerStep::Kind::kPrepend) {
      steps.push_back(json::object{{"type", "Prepend"}, {"prepend", step.text}});
    } else {
      static constexpr const char* kNames[] = {"NFC", "NFD", "NFKC", "NFKD"};
      steps.push_back(json::object{{"type", kNames[static_cast<int>(step.kind)]}});
    }
  }
  return sequence("normalizers", std::move(steps));
}

json::value pretokenizer_json(const PreTokenizer& pretokenizer, bool on_bytes) {
  if (const auto& metaspace = pretokenizer.metaspace()) {
    static constexpr const char* kSchemes[] = {"never", "first", "always"};
    return json::object{{"type", "Metaspace"},
                        {"replacement", metaspace->replacement},
                        {"prepend_scheme", kSchemes[static_cast<int>(metaspace->prepend)]},
                        {"split", metaspace->split}};
  }
  const auto byte_level = [&](bool use_regex) {
    return json::object{{"type", "ByteLevel"},
                        {"add_prefix_space", pretokenizer.add_prefix_space()},
                        {"trim_offsets", true},
                        {"use_regex", use_regex}};
  };
  const std::vector<PreTokenizer::Cut>& cuts = pretokenizer.cuts();
  if (on_bytes && cuts.size() == 1 && cuts[0] == PreTokenizer::Cut{kGpt2Pattern}) return byte_level(true);
  static constexpr const char* kBehaviors[] = {"Isolated", "Removed", "MergedWithPrevious", "MergedWithNext",
                                               "Contiguous"};
  json::array steps;
  for (const PreTokenizer::Cut& cut : cuts) {
    steps.push_back(json::object{{"type", "Split"},
                                 {"pattern", {{"Regex", cut.pattern}}},
                                 {"behavior", kBehaviors[static_cast<int>(cut.behavior)]},
                                 {"invert", cut.invert}});
  }
  if (on_bytes) {
    steps.push_back(byte_level(false));
    return json::object{{"type", "Sequence"}, {"pretokenizers", std::move(steps)}};
  }
  return sequence("pretokenizers", std::move(steps));
}

const json::object& byte_level_processor() {
  static const json::object processor{{"type", "ByteLevel"},
                                      {"add_prefix_space", true},
                                      {"trim_offsets", false},
                                      {"use_regex", true}};
  return processor;
}

std::string name_of(const Tokenizer& tokenizer, TokenId id) {
  for (const AddedToken& token : tokenizer.added()) {
    if (token.id == id) return token.content;
  }
  throw Error(ErrorKind::kInvalid, "writing tokenizer.json: the token {} that is put around texts is no added token",
              id);
}

json::value post_processor_json(const Tokenizer& tokenizer, bool on_bytes) {
  const TokenizerParts& parts = tokenizer.parts();
  if (parts.before.empty() && parts.after.empty()) {
    return on_bytes ? json::value(byte_level_processor()) : json::value(nullptr);
  }
  json::array single;
  json::object specials;
  const auto add = [&](const std::vector<TokenId>& ids) {
    for (const TokenId id : ids) {
      const std::string name = name_of(tokenizer, id);
      single.push_back(json::object{{"SpecialToken", {{"id", name}, {"type_id", 0}}}});
      specials[name] = json::object{{"id", name}, {"ids", json::array{id}}, {"tokens", json::array{json::value(name)}}};
    }
  };
  add(parts.before);
  single.push_back(json::object{{"Sequence", {{"id", "A"}, {"type_id", 0}}}});
  add(parts.after);
  json::array pair = single;
  for (json::value item : single) {
    item.get_object().begin()->value().get_object()["type_id"] = 1;
    if (json::object* sequence =
            item.get_object().if_contains("Sequence") ? &item.get_object()["Sequence"].get_object() : nullptr) {
      (*sequence)["id"] = "B";
    }
    pair.push_back(std::move(item));
  }
  json::object made{{"type", "TemplateProcessing"},
                    {"single", std::move(single)},
                    {"pair", std::move(pair)},
                    {"special_tokens", std::move(specials)}};
  if (!on_bytes) return made;
  return json::object{{"type", "Sequence"}, {"processors", json::array{byte_level_processor(), std::move(made)}}};
}

json::value decoder_json(const Tokenizer& tokenizer, const CharacterBpe* characters) {
  if (characters == nullptr) return byte_level_processor();
  json::array steps;
  steps.push_back(
      json::object{{"type", "Replace"}, {"pattern", {{"String", characters->options().space}}}, {"content", " "}});
  steps.push_back(json::object{{"type", "ByteFallback"}});
  steps.push_back(json::object{{"type", "Fuse"}});
  if (tokenizer.parts().strip_first_space) {
    steps.push_back(json::object{{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
  }
  return json::object{{"type", "Sequence"}, {"decoders", std::move(steps)}};
}

json::array added_json(const Tokenizer& tokenizer) {
  json::array added;
  for (const AddedToken& token : tokenizer.added()) {
    added.push_back(json::object{{"content", token.content},
                                 {"single_word", token.single_word},
                                 {"lstrip", token.lstrip},
                                 {"rstrip", token.rstrip},
                                 {"normalized", token.normalized},
                                 {"special", token.special},
                                 {"id", token.id}});
  }
  return added;
}

}  // namespace

std::string tokenizer_to_json(const Tokenizer& tokenizer) {
  const auto file = tokenizer.parts().files.find("tokenizer.json");
  if (file != tokenizer.parts().files.end()) return file->second;
  const auto* bpe = dynamic_cast<const Bpe*>(&tokenizer.subwords());
  const auto* characters = dynamic_cast<const CharacterBpe*>(&tokenizer.subwords());
  const auto whole = [](const CharacterBpe::Token& token) { return token.kind == CharacterBpe::Kind::kWhole; };
  if (bpe == nullptr &&
      (characters == nullptr || std::any_of(characters->tokens().begin(), characters->tokens().end(), whole))) {
    throw Error(ErrorKind::kInvalid,
                "Writing tokenizer.json: the tokenizer is a sentencepiece model, whose file is tokenizer.model");
  }
  const auto piece = [&](TokenId id) {
    return bpe ? bytes_to_alphabet(bpe->bytes(id)) : characters->tokens()[static_cast<std::size_t>(id)].piece;
  };
  const std::optional<TokenId> unknown = bpe ? bpe->unknown() : characters->options().unknown;

  // One token and one merge a line: tokenizers are read, compared and searched by people too.
  std::string text = "{\n\"version\": \"1.0\",\n\"truncation\": null,\n\"padding\": null,\n\"added_tokens\": ";
  text += json::serialize(added_json(tokenizer));
  text += ",\n\"normalizer\": " + json::serialize(normalizer_json(tokenizer.parts().normalizer));
  text += ",\n\"pre_tokenizer\": " + json::serialize(pretokenizer_json(tokenizer.pretokenizer(), bpe != nullptr));
  text += ",\n\"post_processor\": " + json::serialize(post_processor_json(tokenizer, bpe != nullptr));
  text += ",\n\"decoder\": " + json::serialize(decoder_json(tokenizer, characters));
  text += ",\n\"model\": {\n\"type\": \"BPE\",\n\"dropout\": null,\n\"unk_token\": ";
  text += unknown ? quoted(bpe ? name_of(tokenizer, *unknown) : piece(*unknown)) : "null";
  text += ",\n\"continuing_subword_prefix\": null,\n\"end_of_word_suffix\": null,\n\"fuse_unk\": ";
  text += characters && characters->options().fuse_unknown ? "true" : "false";
  text += ",\n\"byte_fallback\": ";
  text += characters ? "true" : "false";
  text += ",\n\"ignore_merges\": ";
  text += bpe && bpe->whole_pieces_first() ? "true" : "false";
  text += ",\n\"vocab\": {";
  const char* separator = "\n";
  for (TokenId id = 0; id < tokenizer.subwords().id_end(); ++id) {
    if (!tokenizer.subwords().has(id)) continue;
    text += separator + quoted(piece(id)) + ": " + std::to_string(id);
    separator = ",\n";
  }
  // Hugging Face wants the specials in the vocabulary as well, or it numbers them anew.
  for (const AddedToken& token : tokenizer.added()) {
    if (tokenizer.subwords().has(token.id)) continue;
    text += separator + quoted(token.content) + ": " + std::to_string(token.id);
    separator = ",\n";
  }
  text += "\n},\n\"merges\": [";
  separator = "\n";
  for (const auto& [left, right] : bpe ? bpe->merges() : characters->merges()) {
    text += separator;
    text += "[" + quoted(piece(left)) + ", " + quoted(piece(right)) + "]";
    separator = ",\n";
  }
  text += "\n]\n}\n}\n";
  return text;
}

}  // namespace athanor::model
