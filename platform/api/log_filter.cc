#include "platform/api/log_filter.h"

#include <algorithm>

#include "platform/api/service_error.h"

namespace athanor::api {

namespace {

[[noreturn]] void refuse(const std::string& why) {
  throw ServiceError("InvalidParameterException", "Invalid filter pattern: " + why);
}

}  // namespace

LogFilter::LogFilter(std::string_view pattern) {
  std::size_t at = pattern.find_first_not_of(' ');
  if (at != std::string_view::npos && (pattern[at] == '{' || pattern[at] == '[' || pattern[at] == '%')) {
    refuse("only patterns of words and quoted phrases are supported");
  }
  while (at < pattern.size()) {
    auto* terms = &wanted_;
    if (pattern[at] == '-' || pattern[at] == '?') terms = pattern[at++] == '-' ? &unwanted_ : &any_of_;
    std::string term;
    if (at < pattern.size() && pattern[at] == '"') {
      for (++at; at < pattern.size() && pattern[at] != '"'; ++at) {
        if (pattern[at] == '\\' && at + 1 < pattern.size()) ++at;
        term += pattern[at];
      }
      if (at == pattern.size()) refuse("a quoted phrase does not end");
      ++at;
    } else {
      const std::size_t end = std::min(pattern.find(' ', at), pattern.size());
      term = pattern.substr(at, end - at);
      at = end;
    }
    if (term.empty()) refuse("a term is empty");
    terms->push_back(std::move(term));
    at = std::min(pattern.find_first_not_of(' ', at), pattern.size());
  }
}

bool LogFilter::matches(std::string_view message) const {
  const auto occurs = [&](const std::string& term) { return message.find(term) != std::string_view::npos; };
  return std::all_of(wanted_.begin(), wanted_.end(), occurs) &&
         std::none_of(unwanted_.begin(), unwanted_.end(), occurs) &&
         (any_of_.empty() || std::any_of(any_of_.begin(), any_of_.end(), occurs));
}

}  // namespace athanor::api
