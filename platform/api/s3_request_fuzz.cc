// Paths, headers and queries of S3 requests. The first line of the input is the path, the others are "NAME:VALUE".
#include <cstdlib>

#include "common/error.h"
#include "platform/api/s3_error.h"
#include "platform/api/s3_request.h"

namespace {

using namespace athanor;

template <typename Read>
void refused_or(const Read& read) {
  try {
    read();
  } catch (const api::S3Error&) {
  } catch (const Error&) {
  }
}

void within(const api::ByteRange& range, std::uint64_t size) {
  if (range.length == 0 || range.offset >= size || range.length > size - range.offset) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  constexpr std::uint64_t kObjectBytes = 1000;
  std::string_view rest(reinterpret_cast<const char*>(data), size);
  const auto line = [&rest] {
    const std::string_view one = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(rest.size(), one.size() + 1));
    return one;
  };
  const std::string_view path = line();
  wire::Request request;
  wire::Headers& headers = request.headers;
  while (!rest.empty() && headers.size() < 100) {
    const std::string_view one = line();
    const std::size_t colon = one.find(':');
    if (colon != std::string_view::npos) {
      headers.add(std::string(one.substr(0, colon)), std::string(one.substr(colon + 1)));
    }
  }
  refused_or([&] { wire::set_target(request, std::string(path)); });
  refused_or([&] { api::read_address(path, headers.get_or("Host", "")); });
  refused_or([&] { api::read_copy_source(path); });
  refused_or([&] { api::read_list_token(path); });
  if (api::read_list_token(api::make_list_token(path)) != path) std::abort();
  refused_or([&] { api::read_count(request, "max-keys", 1000); });
  refused_or([&] {
    if (const auto range = api::read_range(path, kObjectBytes)) within(*range, kObjectBytes);
  });
  refused_or([&] { within(api::read_copy_range(path, kObjectBytes), kObjectBytes); });
  if (const auto time = api::parse_http_date(path)) {
    if (api::parse_http_date(api::http_date(*time)) != time) std::abort();
  }
  refused_or([&] { api::read_object_headers(headers); });
  refused_or([&] { api::read_tagging_header(headers); });
  refused_or([&] { api::read_write_conditions(headers); });
  refused_or([&] { api::read_checksum(headers); });
  storage::ObjectInfo object;
  object.etag = "\"0\"";
  refused_or([&] { api::check_read_conditions(headers, "", object, true); });
  return 0;
}
