// Texts that end what a model writes, found also where they begin in one token and end in another; nothing of one is shown.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace athanor::model {

class StopStrings {
 public:
  // Throws kInvalid for an empty one.
  explicit StopStrings(std::vector<std::string> stops);

  // What can be shown of everything added so far and not yet returned: all but what may become a stop string. Whichever
  // is whole first ends the text, at its beginning; after that nothing is shown any more.
  std::string add(std::string_view text);
  // The rest, when the text ends without one.
  std::string finish();
  // The one that ended it.
  const std::optional<std::string>& found() const { return found_; }

 private:
  const std::vector<std::string> stops_;
  std::string pending_;  // shorter than the longest of them
  std::optional<std::string> found_;
};

}  // namespace athanor::model
