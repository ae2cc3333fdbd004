// CloudWatch Logs' filter patterns for plain text: `error` and `"two words"` must occur, `-word` must not, of `?a ?b`
// one must; all compared with case. Patterns over JSON fields and over columns are refused.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace athanor::api {

class LogFilter {
 public:
  // Throws ServiceError (InvalidParameterException) for a pattern that is malformed or not of the kinds above.
  explicit LogFilter(std::string_view pattern);

  bool matches(std::string_view message) const;

 private:
  std::vector<std::string> wanted_, unwanted_, any_of_;
};

}  // namespace athanor::api
