#include "engine/model/tokenizer/sentencepiece_model.h"

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>

#include "common/error.h"

namespace athanor::model {

namespace {

static_assert(std::endian::native == std::endian::little);

// The library's own numbers (sentencepiece_model.proto).
constexpr std::uint64_t kPieces = 1, kTrainerSpec = 2, kNormalizerSpec = 3, kDenormalizerSpec = 5;
constexpr std::uint64_t kBpe = 2, kUserDefined = 4, kUnused = 5;
constexpr int kMatchesMax = 32;  // the library's Normalizer::kMaxTrieResultsSize

[[noreturn]] void refuse(std::string_view why) {
  throw Error(ErrorKind::kInvalid, "it is no sentencepiece model, or a damaged one: {}", why);
}

// Protocol buffers' wire format, as far as it takes to walk through a message.
class Fields {
 public:
  explicit Fields(std::string_view message) : rest_(message) {}

  // The next field; false at the end. Throws kInvalid where the message is none: what is not understood here must not
  // mean something to the library.
  bool next() {
    if (rest_.empty()) return false;
    const std::uint64_t key = varint();
    if (key > UINT32_MAX) refuse("a field's number is too large");
    number = key >> 3;
    value = 0;
    bytes = {};
    switch (key & 7) {
      case 0: value = varint(); break;
      case 1: take(8); break;
      case 2: bytes = take(varint()); break;
      case 5: take(4); break;
      default: refuse("a field is of no known kind");
    }
    return true;
  }

  std::uint64_t number = 0, value = 0;
  std::string_view bytes;

 private:
  std::uint64_t varint() {
    std::uint64_t read = 0;
    for (int shift = 0; shift < 64 && !rest_.empty(); shift += 7) {
      const auto byte = static_cast<unsigned char>(rest_.front());
      rest_.remove_prefix(1);
      read |= static_cast<std::uint64_t>(byte & 0x7f) << shift;
      if (byte < 0x80) return read;
    }
    refuse("it ends in the middle of a number");
  }
  std::string_view take(std::uint64_t size) {
    if (size > rest_.size()) refuse("it ends in the middle of a field");
    const std::string_view taken = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return taken;
  }
  std::string_view rest_;
};

// A double array. A state is a place; the unit at (state ^ byte) leads on by that byte when its label is the byte, to the
// state that is the unit's own place ^ its offset. A unit that ends a key has its value at that state.
class DoubleArray {
 public:
  explicit DoubleArray(std::string_view bytes) : units_(bytes.size() / sizeof(std::uint32_t)) {
    std::memcpy(units_.data(), bytes.data(), bytes.size());
  }

  void check(std::size_t values_end) {
    group_by_state();
    struct Step {
      std::uint32_t state;
      std::size_t next;  // in units_of_
      int longest;       // keys that end on one way on from here
      bool ends_key;     // the unit that led here does
    };
    enum : std::uint8_t { kNew, kOnTheWay, kDone };
    std::vector<std::uint8_t> marks(units_.size(), kNew);
    std::vector<int> longest(units_.size(), 0);
    std::vector<Step> way;
    const auto enter = [&](std::uint32_t unit) {
      const std::uint32_t to = target(unit);
      if ((to | 0xff) >= units_.size()) refuse("its normalizer's table leads out of itself");
      const bool ends_key = unit != 0 && (units_[unit] & kEndsKey) != 0;
      if (ends_key && (units_[to] & kValueBits) >= values_end) refuse("its normalizer's table leads to no text");
      if (marks[to] == kOnTheWay) refuse("its normalizer's table leads in circles");
      way.push_back({to, first_[to], 0, ends_key});
      if (marks[to] == kDone) {
        way.back().next = first_[to + 1];
        way.back().longest = longest[to];
      }
      marks[to] = marks[to] == kDone ? kDone : kOnTheWay;
    };
    enter(0);
    while (!way.empty()) {
      Step& step = way.back();
      if (step.next < first_[step.state + 1]) {
        enter(units_of_[step.next++]);
        continue;
      }
      marks[step.state] = kDone;
      longest[step.state] = step.longest;
      const int keys = step.longest + (step.ends_key ? 1 : 0);
      if (keys > kMatchesMax)
        refuse("more texts of its normalizer's table begin each other than sentencepiece can take");
      way.pop_back();
      if (!way.empty()) way.back().longest = std::max(way.back().longest, keys);
    }
  }

 private:
  static constexpr std::uint32_t kEndsKey = 1u << 8, kIsValue = 1u << 31, kValueBits = kIsValue - 1;

  std::uint32_t target(std::uint32_t unit) const {
    const std::uint32_t read = units_[unit];
    return unit ^ ((read >> 10) << ((read & (1u << 9)) >> 6));
  }

  // Which units lead on from each state: units_of_[first_[state]] to units_of_[first_[state + 1]].
  void group_by_state() {
    first_.assign(units_.size() + 1, 0);
    // The root's unit is led to by nothing; a unit whose state is no place of the array is never reached.
    const auto each = [&](auto&& act) {
      for (std::uint32_t unit = 1; unit < units_.size(); ++unit) {
        const std::uint32_t state = unit ^ (units_[unit] & 0xff);
        if ((units_[unit] & kIsValue) == 0 && state < units_.size()) act(unit, state);
      }
    };
    each([&](std::uint32_t, std::uint32_t state) { ++first_[state + 1]; });
    for (std::size_t state = 0; state < units_.size(); ++state) first_[state + 1] += first_[state];
    units_of_.resize(first_.back());
    std::vector<std::size_t> at(first_.begin(), first_.end() - 1);
    each([&](std::uint32_t unit, std::uint32_t state) { units_of_[at[state]++] = unit; });
  }

  std::vector<std::uint32_t> units_;
  std::vector<std::size_t> first_;
  std::vector<std::uint32_t> units_of_;
};

}  // namespace

void check_charsmap(std::string_view charsmap) {
  std::uint32_t size = 0;
  if (charsmap.size() <= sizeof size) refuse("its normalizer's table has no size");
  std::memcpy(&size, charsmap.data(), sizeof size);
  charsmap.remove_prefix(sizeof size);
  if (size == 0 || size % sizeof(std::uint32_t) != 0 || size >= charsmap.size()) {
    refuse("its normalizer's table is not of the size that it states");
  }
  const std::string_view texts = charsmap.substr(size);
  if (texts.back() != '\0') refuse("the last text of its normalizer's table has no end");
  DoubleArray(charsmap.substr(0, size)).check(texts.size());
}

SentencePieceModel read_sentencepiece_model(std::string_view model) {
  SentencePieceModel read;
  bool escaped = true, spaces_kept = false, suffix = false, mapped = false, any_unused = false;
  for (Fields fields(model); fields.next();) {
    if (fields.number == kPieces) {
      read.user_defined.push_back(false);
      for (Fields piece(fields.bytes); piece.next();) {
        if (piece.number != 3) continue;
        read.user_defined.back() = piece.value == kUserDefined;
        any_unused = any_unused || piece.value == kUnused;
      }
    } else if (fields.number == kTrainerSpec) {
      for (Fields spec(fields.bytes); spec.next();) {
        if (spec.number == 3) read.bpe = spec.value == kBpe;
        if (spec.number == 24) suffix = spec.value != 0;
      }
    } else if (fields.number == kNormalizerSpec || fields.number == kDenormalizerSpec) {
      for (Fields spec(fields.bytes); spec.next();) {
        if (spec.number == 2 && !spec.bytes.empty()) check_charsmap(spec.bytes);
        if (fields.number == kDenormalizerSpec) continue;
        if (spec.number == 2) mapped = !spec.bytes.empty();
        if (spec.number == 3) read.prefix = spec.value != 0;
        if (spec.number == 4) spaces_kept = spec.value == 0;
        if (spec.number == 5) escaped = spec.value != 0;
      }
    }
  }
  read.plain = escaped && spaces_kept && !suffix && !mapped && !any_unused;
  return read;
}

}  // namespace athanor::model
