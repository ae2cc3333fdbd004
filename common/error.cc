#include "common/error.h"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <system_error>

namespace athanor {

namespace {

ErrorKind kind_of(int error_number) {
  switch (error_number) {
    case ENOENT:
    case ENOTDIR: return ErrorKind::kNotFound;
    case EEXIST:
    case EADDRINUSE:
    case EBUSY: return ErrorKind::kConflict;
    case EACCES:
    case EPERM:
    case EROFS: return ErrorKind::kDenied;
    case ENOSPC:
    case EDQUOT:
    case ENOMEM:
    case EMFILE:
    case ENFILE:
    case EFBIG: return ErrorKind::kExhausted;
    case EAGAIN:
    case ECONNREFUSED:
    case ECONNRESET:
    case ETIMEDOUT:
    case EPIPE:
    case EHOSTUNREACH: return ErrorKind::kUnavailable;
    case EIO: return ErrorKind::kCorrupt;
    case EINVAL:
    case ENAMETOOLONG: return ErrorKind::kInvalid;
    default: return ErrorKind::kInternal;
  }
}

std::string without_zeros(std::string text) {
  for (std::size_t at = 0; (at = text.find('\0', at)) != std::string::npos; at += 2) text.replace(at, 1, "\\0");
  return text;
}

}  // namespace

Error::Error(ErrorKind kind, std::string what) : std::runtime_error(without_zeros(std::move(what))), kind_(kind) {}

Error system_error(int error_number, const std::string& doing) {
  return Error(kind_of(error_number), "{}: {}", doing, std::generic_category().message(error_number));
}

void assertion_failed(const char* expression, const char* file, int line) {
  std::fprintf(stderr, "athanor: assertion failed: %s (%s:%d)\n", expression, file, line);
  std::abort();
}

}  // namespace athanor
