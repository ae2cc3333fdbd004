#include "engine/model/tokenizer/sentencepiece.h"

#include <sentencepiece_processor.h>

#include "common/error.h"
#include "engine/model/tokenizer/character_bpe.h"

namespace athanor::model {

namespace {

std::string spaced(std::string_view piece) {
  std::string text;
  for (std::size_t at = 0; at < piece.size();) {
    const bool space = piece.substr(at, kMetaspace.size()) == kMetaspace;
    text += space ? ' ' : piece[at];
    at += space ? kMetaspace.size() : 1;
  }
  return text;
}

// A BPE on text as it is: the same by our own merges, or null where they would not give the same.
std::shared_ptr<const CharacterBpe> character_bpe(const SentencePiece& from) {
  std::vector<CharacterBpe::Token> tokens;
  CharacterBpe::Options options;
  for (TokenId id = 0; id < from.id_end(); ++id) {
    using Kind = CharacterBpe::Kind;
    const Kind kind = from.controls(id)                                         ? Kind::kControl
                      : from.is_byte(id)                                        ? Kind::kByte
                      : from.model().user_defined[static_cast<std::size_t>(id)] ? Kind::kWhole
                                                                                : Kind::kText;
    if (from.piece(id).empty() || from.piece(id).size() > CharacterBpe::kScoredBytesMax) return nullptr;
    tokens.push_back({from.piece(id), id, kind, from.score(id)});
  }
  if (CharacterBpe::out_of_reach(tokens) != nullptr) return nullptr;
  options.unknown = from.unknown();
  return std::make_shared<const CharacterBpe>(CharacterBpe::from_scores(std::move(tokens), options));
}

}  // namespace

SentencePiece::SentencePiece(std::string_view model)
    : model_(read_sentencepiece_model(model)), processor_(std::make_unique<sentencepiece::SentencePieceProcessor>()) {
  load(model);
  const int size = processor_->GetPieceSize();
  if (size <= 0 || size > kTokenIdMax) {
    throw Error(ErrorKind::kInvalid, "it has {} tokens; 1 to {} are possible", size, kTokenIdMax);
  }
  bytes_.resize(static_cast<std::size_t>(size));
  for (TokenId id = 0; id < size; ++id) {
    std::string& bytes = bytes_[static_cast<std::size_t>(id)];
    const std::string& name = piece(id);
    if (controls(id)) continue;
    if (processor_->IsByte(id)) {
      bytes.assign(1, static_cast<char>(std::stoi(name.substr(3, 2), nullptr, 16)));
    } else {
      bytes = spaced(name);
    }
  }
  std::vector<TokenId> probe;
  encode("a", probe);
  prefixes_ = !probe.empty() && bytes(probe[0]).starts_with(' ');
}

SentencePiece::~SentencePiece() = default;

void SentencePiece::load(std::string_view model) {
  std::string why;
  try {
    const auto status = processor_->LoadFromSerializedProto({model.data(), model.size()});
    if (status.ok()) return;
    why = status.ToString();
  } catch (const std::exception& error) {  // of the tries that it builds
    why = error.what();
  }
  throw Error(ErrorKind::kInvalid, "it is no sentencepiece model: {}", why);
}

void SentencePiece::encode(std::string_view piece, std::vector<TokenId>& into) const {
  std::vector<int> ids;
  const auto status = processor_->Encode({piece.data(), piece.size()}, &ids);
  if (!status.ok()) {
    throw Error(ErrorKind::kInvalid, "Encoding a text with a sentencepiece model: {}", status.ToString());
  }
  into.insert(into.end(), ids.begin(), ids.end());
}

const std::string& SentencePiece::piece(TokenId id) const { return processor_->IdToPiece(id); }
bool SentencePiece::controls(TokenId id) const { return processor_->IsControl(id) || processor_->IsUnknown(id); }
bool SentencePiece::is_byte(TokenId id) const { return processor_->IsByte(id); }
float SentencePiece::score(TokenId id) const { return processor_->GetScore(id); }
TokenId SentencePiece::unknown() const { return processor_->unk_id(); }
TokenId SentencePiece::bos() const { return processor_->bos_id(); }
TokenId SentencePiece::eos() const { return processor_->eos_id(); }

TokenizerParts tokenizer_parts_from_sentencepiece(std::string_view model, std::string_view source) {
  try {
    const auto made = std::make_shared<const SentencePiece>(model);
    TokenizerParts parts;
    for (TokenId id = 0; id < made->id_end(); ++id) {
      if (made->controls(id)) parts.added.push_back({.content = made->piece(id), .id = id});
    }
    if (made->bos() >= 0) {
      parts.bos = made->piece(made->bos());
      parts.before = {made->bos()};
    }
    if (made->eos() >= 0) parts.eos = made->piece(made->eos());
    parts.strip_first_space = made->prefixes();
    parts.subwords = made;
    const SentencePieceModel& kind = made->model();
    if (const auto faster = kind.bpe && kind.plain ? character_bpe(*made) : nullptr) {
      std::vector<NormalizerStep> steps{{.kind = NormalizerStep::Kind::kRepair}};
      if (kind.prefix) steps.push_back({.kind = NormalizerStep::Kind::kPrepend, .text = std::string(kMetaspace)});
      steps.push_back({.kind = NormalizerStep::Kind::kReplace, .text = std::string(kMetaspace), .from = " "});
      parts.normalizer = Normalizer(std::move(steps));
      parts.subwords = faster;
    }
    parts.files.emplace("tokenizer.model", model);
    return parts;
  } catch (const Error& error) {
    throw Error(ErrorKind::kInvalid, "{} is no tokenizer that can be used: {}", source, error.what());
  }
}

}  // namespace athanor::model
