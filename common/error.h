// The one exception of the house, thrown for everything that input, the machine or the network can do to us.
//
// Its text answers four questions in one or two sentences: what was being done, to what, what went wrong, and what to
// do about it. Mistakes of ours are assertions (`ATHANOR_ASSERT`), which stay on in production.
#pragma once

#include <fmt/format.h>

#include <stdexcept>
#include <string>
#include <utility>

namespace athanor {

// What kind of thing went wrong, for the callers that must react differently. API code maps kinds to its service's
// own error codes; command lines map them to exit codes.
enum class ErrorKind {
  kInvalid,      // the input is wrong; repeating it will not help
  kNotFound,     // what was named does not exist
  kConflict,     // it exists already, or its state forbids this
  kDenied,       // the caller may not
  kExhausted,    // disk, memory, quota or a bound is used up
  kUnavailable,  // a peer or resource did not answer; repeating may help
  kCorrupt,      // stored or received data is damaged
  kInternal,     // none of the above
};

class Error : public std::runtime_error {
 public:
  // A zero byte, which would end what(), is told as "\0".
  Error(ErrorKind kind, std::string what);

  template <typename... Args>
  Error(ErrorKind kind, fmt::format_string<Args...> format, Args&&... args)
      : Error(kind, fmt::format(format, std::forward<Args>(args)...)) {}

  ErrorKind kind() const { return kind_; }

 private:
  ErrorKind kind_;
};

// An Error for a failed system call: "DOING: No such file or directory". Its kind follows `error_number`.
Error system_error(int error_number, const std::string& doing);

[[noreturn]] void assertion_failed(const char* expression, const char* file, int line);

}  // namespace athanor

#define ATHANOR_ASSERT(expression) \
  ((expression) ? static_cast<void>(0) : ::athanor::assertion_failed(#expression, __FILE__, __LINE__))
