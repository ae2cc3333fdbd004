#include "platform/node/server_place.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <string_view>

#include "common/error.h"

namespace athanor::node {

namespace {

constexpr std::size_t kUrlBytesMax = 512;

}  // namespace

ServerPlace::ServerPlace(const std::string& url) : first_(wire::Endpoint::parse(url)) {}

ServerPlace::ServerPlace(const std::string& url, const std::string& file)
    : first_(wire::Endpoint::parse(url)), file_(::open(file.c_str(), O_RDONLY | O_CLOEXEC)) {
  if (!file_) throw system_error(errno, "opening " + file);
}

wire::Endpoint ServerPlace::now() const {
  if (!file_) return first_;
  std::array<char, kUrlBytesMax> text;
  const ssize_t got = ::pread(file_.get(), text.data(), text.size(), 0);
  const std::string_view read(text.data(), got > 0 ? static_cast<std::size_t>(got) : 0);
  const std::size_t end = read.find('\n');
  if (end == std::string_view::npos) return first_;
  try {
    return wire::Endpoint::parse(read.substr(0, end));
  } catch (const Error&) {
    return first_;  // it is being written: whoever dials in vain asks again
  }
}

}  // namespace athanor::node
