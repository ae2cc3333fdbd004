#include "engine/model/tokenizer/normalizer.h"

#include <unicode/bytestream.h>
#include <unicode/normalizer2.h>
#include <unicode/stringpiece.h>
#include <unicode/uniset.h>

#include <algorithm>

#include "common/error.h"
#include "engine/model/tokenizer/utf8.h"

namespace athanor::model {

namespace {

const icu::Normalizer2& normalizer_of(NormalizerStep::Kind form) {
  UErrorCode code = U_ZERO_ERROR;
  const icu::Normalizer2* found = nullptr;
  switch (form) {
    case NormalizerStep::Kind::kNfc: found = icu::Normalizer2::getNFCInstance(code); break;
    case NormalizerStep::Kind::kNfd: found = icu::Normalizer2::getNFDInstance(code); break;
    case NormalizerStep::Kind::kNfkc: found = icu::Normalizer2::getNFKCInstance(code); break;
    case NormalizerStep::Kind::kNfkd: found = icu::Normalizer2::getNFKDInstance(code); break;
    default: ATHANOR_ASSERT(false);
  }
  if (U_FAILURE(code)) {
    throw Error(ErrorKind::kInternal, "normalizing text: ICU has no normal forms: {}", u_errorName(code));
  }
  return *found;
}

// The characters that `tokenizers` knows the forms of: its tables are Unicode 9's. Newer ones it leaves as they are and where
// they are, and so do we, so that a model reads what it was taught.
const icu::UnicodeSet& known_to_tokenizers() {
  static const icu::UnicodeSet known = [] {
    UErrorCode code = U_ZERO_ERROR;
    icu::UnicodeSet made(icu::UnicodeString::fromUTF8("[:Age=9.0:]"), code);
    if (U_FAILURE(code)) {
      throw Error(ErrorKind::kInternal, "normalizing text: ICU does not know the ages of characters: {}",
                  u_errorName(code));
    }
    made.freeze();
    return made;
  }();
  return known;
}

icu::StringPiece piece_of(std::string_view text) { return {text.data(), static_cast<std::int32_t>(text.size())}; }

// ICU counts in 32 bits, and looks ahead without bound: long texts go in parts that end before an ASCII letter, which
// nothing composes with.
constexpr std::size_t kPartBytes = 1 << 20;

std::size_t part_bytes(std::string_view text) {
  if (text.size() <= kPartBytes) return text.size();
  for (std::size_t at = kPartBytes; at < text.size() && at < (1u << 30); ++at) {
    if (static_cast<unsigned char>(text[at]) < 0x80) return at;
  }
  return std::min<std::size_t>(text.size(), 1 << 30);
}

// False when `text` is in this form already.
bool put_in_form(std::string_view text, NormalizerStep::Kind form, std::string& into) {
  if (std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; })) return false;
  const icu::Normalizer2& normalizer = normalizer_of(form);
  // What is in the form by all characters is so by those that are known; seldom needed, and slower.
  const icu::FilteredNormalizer2 of_known(normalizer, known_to_tokenizers());
  bool changed = false;
  into.clear();
  for (std::string_view rest = text; !rest.empty();) {
    const std::string_view valid = rest.substr(0, utf8_valid_prefix(rest));
    for (std::string_view left = valid; !left.empty();) {
      const std::string_view part = left.substr(0, part_bytes(left));
      left.remove_prefix(part.size());
      UErrorCode code = U_ZERO_ERROR;
      if (normalizer.isNormalizedUTF8(piece_of(part), code)) {
        into.append(part);
        continue;
      }
      changed = true;
      icu::StringByteSink<std::string> sink(&into);
      of_known.normalizeUTF8(0, piece_of(part), sink, nullptr, code);
      if (U_FAILURE(code)) throw Error(ErrorKind::kInternal, "normalizing text: {}", u_errorName(code));
    }
    rest.remove_prefix(valid.size());
    const std::size_t broken = utf8_broken_prefix(rest);
    into.append(rest.substr(0, broken));
    rest.remove_prefix(broken);
  }
  return changed;
}

bool replaced(std::string_view text, const NormalizerStep& replace, std::string& into) {
  std::size_t found = text.find(replace.from);
  if (found == std::string_view::npos) return false;
  into.clear();
  into.reserve(text.size() + text.size() / 2);
  std::size_t at = 0;
  for (; found != std::string_view::npos; found = text.find(replace.from, at)) {
    into.append(text.substr(at, found - at)).append(replace.text);
    at = found + replace.from.size();
  }
  into.append(text.substr(at));
  return true;
}

bool repaired(std::string_view text, std::string& into) {
  std::size_t valid = utf8_valid_prefix(text);
  if (valid == text.size()) return false;
  into.clear();
  while (!text.empty()) {
    into.append(text.substr(0, valid));
    text.remove_prefix(valid);
    const std::size_t broken = utf8_broken_prefix(text);
    for (std::size_t i = 0; i < broken; ++i) into.append("\xef\xbf\xbd");
    text.remove_prefix(broken);
    valid = utf8_valid_prefix(text);
  }
  return true;
}

}  // namespace

Normalizer::Normalizer(std::vector<NormalizerStep> steps) : steps_(std::move(steps)) {
  for (const NormalizerStep& step : steps_) {
    if (step.kind == NormalizerStep::Kind::kReplace && step.from.empty()) {
      throw Error(ErrorKind::kInvalid, "the tokenizer's normalizer replaces nothing by something");
    }
  }
}

std::string_view Normalizer::apply(std::string_view text, std::string& scratch, bool continues) const {
  std::string next;
  for (const NormalizerStep& step : steps_) {
    bool changed = false;
    if (step.kind == NormalizerStep::Kind::kReplace) {
      changed = replaced(text, step, next);
    } else if (step.kind == NormalizerStep::Kind::kRepair) {
      changed = repaired(text, next);
    } else if (step.kind != NormalizerStep::Kind::kPrepend) {
      changed = put_in_form(text, step.kind, next);
    } else if (!continues && !text.empty()) {
      next = step.text;
      next.append(text);
      changed = true;
    }
    if (!changed) continue;
    scratch.swap(next);
    text = scratch;
  }
  return text;
}

}  // namespace athanor::model
