// What one template may use of the machine. Templates come with downloaded models, so that whatever one says, it is read,
// run and freed within these two limits; passing one is a kInvalid that names the limit.
#pragma once

#include <cstdint>

#include "common/error.h"

namespace athanor::model::jinja {

// How deep anything goes into itself: statements, expressions and values, and the calls of a run. All of them are walked
// and freed recursively.
inline constexpr int kDepthMax = 400;

// Throws when something as deep as that is about to be made.
inline void check_depth(int depth, const char* what) {
  if (depth > kDepthMax) {
    throw Error(ErrorKind::kInvalid, "{} is nested too deeply: the limit of depth is {} levels", what, kDepthMax);
  }
}

// The work of one rendering, which its memory is a part of: 1 for each byte that is made or compared, kItem for each step
// of the run and for each item of a list. Spent before the work is done.
class Budget {
 public:
  static constexpr std::uint64_t kMax = 64 << 20, kItem = 64;

  void spend(std::uint64_t count, std::uint64_t each = 1) {
    if (each != 0 && count > left_ / each) {
      throw Error(ErrorKind::kInvalid,
                  "it takes too much work: the limit is {} units, of which a byte takes 1 and a step or an item {}",
                  kMax, kItem);
    }
    left_ -= count * each;
  }

 private:
  std::uint64_t left_ = kMax;
};

}  // namespace athanor::model::jinja
