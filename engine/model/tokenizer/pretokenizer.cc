#include "engine/model/tokenizer/pretokenizer.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>
#include <cstdint>

#include "common/error.h"
#include "engine/model/tokenizer/newer_characters.h"
#include "engine/model/tokenizer/utf8.h"

namespace athanor::model {

const char* const kGpt2Pattern = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

namespace {

constexpr std::size_t kPatternBytesMax = 4096;
constexpr std::uint32_t kMatchLimit = 10'000'000;  // steps of the interpreter for one match
constexpr std::size_t kJitStackBytes = 64 << 10;
constexpr std::size_t kJitStackBytesMax = 16 << 20;

std::string pcre_text(int code) {
  PCRE2_UCHAR text[256];
  pcre2_get_error_message(code, text, sizeof text);
  return reinterpret_cast<const char*>(text);
}

// PCRE2 counts U+180E among \s, as Unicode did before 6.3; the engines of the other tokenizers do not.
std::string with_todays_white_space(const std::string& pattern) {
  static constexpr std::string_view kSpaces =
      R"(\x{9}-\x{d} \x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000})";
  std::string translated;
  bool in_class = false;
  for (std::size_t i = 0; i < pattern.size(); ++i) {
    const char c = pattern[i];
    if (c == '\\' && i + 1 < pattern.size()) {
      const char next = pattern[++i];
      if (next == 's' && in_class) {
        translated += kSpaces;
      } else if ((next == 's' || next == 'S') && !in_class) {
        translated += next == 's' ? "[" : "[^";
        translated += kSpaces;
        translated += "]";
      } else {
        translated += c;
        translated += next;
      }
      continue;
    }
    if (c == '[' && !in_class) {
      in_class = true;
    } else if (c == ']' && in_class) {
      in_class = false;
    }
    translated += c;
  }
  return translated;
}

// Pieces from a text's parts as they come, matches and what lies between. (A part that belongs to its neighbours does
// so as `tokenizers` has it: of two matches in a row the second stands alone.)
class Pieces {
 public:
  Pieces(PreTokenizer::Cut::Behavior behavior, bool invert) : behavior_(behavior), invert_(invert) {}

  // Calls `piece` for what is complete.
  template <typename Piece>
  void add(std::size_t begin, std::size_t end, bool match, const Piece& piece) {
    using Behavior = PreTokenizer::Cut::Behavior;
    if (begin == end) return;
    match = match != invert_;
    const bool after_match = match_;
    match_ = match;
    bool joins = false;
    switch (behavior_) {
      case Behavior::kIsolated: break;
      case Behavior::kRemoved:
        if (match) return;
        break;
      case Behavior::kMergedWithPrevious: joins = match && !after_match; break;
      case Behavior::kMergedWithNext: joins = !match && after_match; break;
      case Behavior::kContiguous: joins = match == after_match; break;
    }
    if (joins && begin == end_ && end_ > begin_) {
      end_ = end;
      return;
    }
    finish(piece);
    begin_ = begin;
    end_ = end;
  }

  template <typename Piece>
  void finish(const Piece& piece) {
    if (end_ > begin_) piece(begin_, end_);
    begin_ = end_;
  }

 private:
  const PreTokenizer::Cut::Behavior behavior_;
  const bool invert_;
  bool match_ = false;  // of the last part
  std::size_t begin_ = 0, end_ = 0;
};

}  // namespace

struct PreTokenizer::Compiled {
  pcre2_code* code = nullptr;
  bool jit = false;
  ~Compiled() { pcre2_code_free(code); }
};

// What one thread needs to match.
class PreTokenizer::Matcher {
 public:
  explicit Matcher(const Compiled& compiled)
      : compiled_(&compiled),
        data_(pcre2_match_data_create(1, nullptr), &pcre2_match_data_free),
        context_(pcre2_match_context_create(nullptr), &pcre2_match_context_free),
        stack_(nullptr, &pcre2_jit_stack_free) {
    if (data_ == nullptr || context_ == nullptr) throw Error(ErrorKind::kExhausted, "tokenizing: out of memory");
    pcre2_set_match_limit(context_.get(), kMatchLimit);
    if (compiled.jit) {
      stack_.reset(pcre2_jit_stack_create(kJitStackBytes, kJitStackBytesMax, nullptr));
      pcre2_jit_stack_assign(context_.get(), nullptr, stack_.get());
    }
  }

  // The next non-empty match at or after `from`; false when there is none.
  bool find(std::string_view text, std::size_t from, std::size_t& begin, std::size_t& end) {
    const auto* subject = reinterpret_cast<PCRE2_SPTR>(text.data());
    constexpr std::uint32_t kOptions = PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY;
    const int found =
        compiled_->jit
            ? pcre2_jit_match(compiled_->code, subject, text.size(), from, kOptions, data_.get(), context_.get())
            : pcre2_match(compiled_->code, subject, text.size(), from, kOptions, data_.get(), context_.get());
    if (found == PCRE2_ERROR_NOMATCH) return false;
    if (found < 0) {
      throw Error(ErrorKind::kInvalid, "tokenizing: the tokenizer's pattern cannot be matched on this text: {}",
                  pcre_text(found));
    }
    const PCRE2_SIZE* bounds = pcre2_get_ovector_pointer(data_.get());
    begin = bounds[0];
    end = bounds[1];
    return end > begin && begin >= from;  // \K and look-behind can make bounds that no piece may have
  }

 private:
  const Compiled* compiled_;
  std::unique_ptr<pcre2_match_data, decltype(&pcre2_match_data_free)> data_;
  std::unique_ptr<pcre2_match_context, decltype(&pcre2_match_context_free)> context_;
  std::unique_ptr<pcre2_jit_stack, decltype(&pcre2_jit_stack_free)> stack_;
};

PreTokenizer PreTokenizer::isolating(const std::vector<std::string>& patterns, bool add_prefix_space) {
  std::vector<Cut> cuts;
  for (const std::string& pattern : patterns) cuts.push_back({pattern});
  return PreTokenizer(std::move(cuts), add_prefix_space);
}

PreTokenizer::PreTokenizer(std::vector<Cut> cuts, bool add_prefix_space)
    : cuts_(std::move(cuts)), add_prefix_space_(add_prefix_space) {
  for (const Cut& cut : cuts_) {
    const std::string& pattern = cut.pattern;
    if (pattern.size() > kPatternBytesMax) {
      throw Error(ErrorKind::kInvalid, "the tokenizer's pattern has {} bytes; at most {} are allowed", pattern.size(),
                  kPatternBytesMax);
    }
    auto compiled = std::make_shared<Compiled>();
    int code = 0;
    PCRE2_SIZE at = 0;
    const std::string source = with_todays_white_space(pattern);
    compiled->code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(source.data()), source.size(),
                                   PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &code, &at, nullptr);
    if (compiled->code == nullptr) {
      throw Error(ErrorKind::kInvalid, "the tokenizer's pattern '{}' is no regular expression: {}", pattern,
                  pcre_text(code));
    }
    compiled->jit = pcre2_jit_compile(compiled->code, PCRE2_JIT_COMPLETE) == 0;
    compiled_.push_back(std::move(compiled));
  }
}

PreTokenizer::PreTokenizer(Metaspace metaspace) : metaspace_(std::move(metaspace)) {
  if (metaspace_->replacement.empty()) {
    throw Error(ErrorKind::kInvalid, "the tokenizer's Metaspace replaces a space by nothing");
  }
}

bool PreTokenizer::changes_nothing() const {
  return !add_prefix_space_ && !metaspace_ && std::none_of(cuts_.begin(), cuts_.end(), [](const Cut& cut) {
    return cut.behavior == Cut::Behavior::kRemoved;
  });
}

PreTokenizer::Scratch::Scratch() = default;
PreTokenizer::Scratch::~Scratch() = default;

void PreTokenizer::split(std::string_view text, const std::function<void(std::string_view)>& piece) const {
  Scratch scratch;
  split(text, Place::kFirst, scratch, piece);
}

void PreTokenizer::split(std::string_view text, Place place, Scratch& scratch,
                         const std::function<void(std::string_view)>& piece) const {
  if (metaspace_) return split_metaspace(text, place, piece);
  std::string prefixed;
  if (add_prefix_space_ && place != Place::kContinues && !text.empty() && text.front() != ' ') {
    prefixed = " " + std::string(text);
    text = prefixed;
  }
  if (compiled_.empty()) {
    if (!text.empty()) piece(text);
    return;
  }
  if (scratch.matchers_.empty()) {
    for (const auto& compiled : compiled_) scratch.matchers_.emplace_back(*compiled);
  }
  std::string known;
  while (!text.empty()) {
    const std::string_view valid = text.substr(0, utf8_valid_prefix(text));
    if (!valid.empty()) split_valid(valid, with_known_characters(valid, known), 0, scratch.matchers_, piece);
    text.remove_prefix(valid.size());
    const std::size_t broken = utf8_broken_prefix(text);
    if (broken > 0) piece(text.substr(0, broken));
    text.remove_prefix(broken);
  }
}

void PreTokenizer::split_metaspace(std::string_view text, Place place,
                                   const std::function<void(std::string_view)>& piece) const {
  if (text.empty()) return;
  const std::string& space = metaspace_->replacement;
  const bool prepend = place == Place::kFirst
                           ? metaspace_->prepend != Metaspace::Prepend::kNever
                           : place == Place::kLater && metaspace_->prepend == Metaspace::Prepend::kAlways;
  std::string replaced;
  if (prepend && text.front() != ' ' && !text.starts_with(space)) replaced = space;
  replaced.reserve(text.size() + text.size() / 2);
  for (const char c : text) c == ' ' ? void(replaced += space) : replaced.push_back(c);
  std::string_view rest = replaced;
  while (metaspace_->split) {
    const std::size_t next = rest.find(space, 1);
    if (next == std::string_view::npos) break;
    piece(rest.substr(0, next));
    rest.remove_prefix(next);
  }
  piece(rest);
}

void PreTokenizer::split_valid(std::string_view text, std::string_view seen, std::size_t step,
                               std::vector<Matcher>& matchers,
                               const std::function<void(std::string_view)>& piece) const {
  if (step == matchers.size()) {
    if (!text.empty()) piece(text);
    return;
  }
  Pieces pieces(cuts_[step].behavior, cuts_[step].invert);
  const auto next = [&](std::size_t begin, std::size_t end) {
    split_valid(text.substr(begin, end - begin), seen.substr(begin, end - begin), step + 1, matchers, piece);
  };
  std::size_t at = 0;
  std::size_t begin = 0, end = 0;
  while (at < text.size() && matchers[step].find(seen, at, begin, end)) {
    pieces.add(at, begin, false, next);
    pieces.add(begin, end, true, next);
    at = end;
  }
  pieces.add(at, text.size(), false, next);
  pieces.finish(next);
}

}  // namespace athanor::model
