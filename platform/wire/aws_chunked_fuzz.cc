// Decodes an aws-chunked body. The first byte chooses the mode and the size of the pieces in which the rest arrives;
// cutting it otherwise must not change the outcome.
#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <cstdlib>

#include "platform/wire/verified_body.h"

namespace {

using namespace athanor::wire;

class Pieces final : public Body {
 public:
  Pieces(std::string_view bytes, std::size_t piece) : bytes_(bytes), piece_(piece) {}
  Awaitable<std::size_t> read_some(std::span<char> into) override {
    const std::size_t count = std::min({into.size(), piece_, bytes_.size()});
    bytes_.copy(into.data(), count);
    bytes_.remove_prefix(count);
    co_return count;
  }
  std::optional<std::uint64_t> length() const override { return std::nullopt; }

 private:
  std::string_view bytes_;
  std::size_t piece_;
};

Awaitable<void> read(std::unique_ptr<VerifiedBody> body, std::string* outcome) {
  try {
    *outcome = co_await read_all(*body, 1 << 20);
    for (const auto& [name, value] : body->trailers()) *outcome += "\n" + name + ":" + value;
  } catch (const BodyError& error) {
    *outcome = "fault " + std::to_string(static_cast<int>(error.fault()));
  }
}

std::string decode(std::string_view bytes, PayloadMode mode, std::size_t piece) {
  Request request;
  request.headers.add("x-amz-decoded-content-length", "5");
  request.headers.add("x-amz-trailer", "x-amz-checksum-crc32");
  request.body = std::make_unique<Pieces>(bytes, piece);
  SignatureClaim claim;
  claim.payload = mode;
  claim.amz_date = "20130524T000000Z";
  claim.scope = {"20130524", "us-east-1", "s3"};
  const auto key = std::make_shared<const HmacKey>("key");
  boost::asio::io_context context;
  std::string outcome;
  boost::asio::co_spawn(context, read(open_verified_body(request, claim, key), &outcome), boost::asio::detached);
  context.run();
  return outcome;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  if (size == 0) return 0;
  static constexpr PayloadMode kModes[] = {PayloadMode::kStreamingSigned, PayloadMode::kStreamingSignedTrailer,
                                           PayloadMode::kStreamingUnsignedTrailer};
  const PayloadMode mode = kModes[data[0] % 3];
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  if (decode(bytes, mode, 1 + data[0] / 3) != decode(bytes, mode, 1 << 20)) std::abort();
  return 0;
}
