#include "platform/wire/verified_body.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <set>

#include "platform/wire/header_text.h"
#include "platform/wire/sigv4.h"

namespace athanor::wire {

namespace {

using Fault = BodyError::Fault;

constexpr std::size_t kBufferBytes = 16 * 1024;
constexpr std::size_t kLineBytesMax = 8 * 1024;
constexpr std::size_t kTrailerLinesMax = 64;

// No promise was made of the body.
class PlainBody final : public VerifiedBody {
 public:
  explicit PlainBody(std::unique_ptr<Body> inner) : inner_(std::move(inner)) {}
  Awaitable<std::size_t> read_some(std::span<char> into) override { return inner_->read_some(into); }
  std::optional<std::uint64_t> length() const override { return inner_->length(); }
  const Headers& trailers() const override { return trailers_; }

 private:
  std::unique_ptr<Body> inner_;
  Headers trailers_;
};

// The hash of all the bytes was promised.
class HashedBody final : public VerifiedBody {
 public:
  HashedBody(std::unique_ptr<Body> inner, std::string promised)
      : inner_(std::move(inner)), hasher_("SHA256"), promised_(std::move(promised)) {}

  Awaitable<std::size_t> read_some(std::span<char> into) override {
    if (ended_) co_return 0;
    const std::size_t count = co_await inner_->read_some(into);
    if (count != 0) {
      hasher_.update({into.data(), count});
      co_return count;
    }
    ended_ = true;
    if (to_hex(hasher_.finish()) != promised_) {
      throw BodyError(Fault::kHashMismatch,
                      "The provided 'x-amz-content-sha256' header does not match what was computed.");
    }
    co_return 0;
  }
  std::optional<std::uint64_t> length() const override { return inner_->length(); }
  const Headers& trailers() const override { return trailers_; }

 private:
  std::unique_ptr<Body> inner_;
  Hasher hasher_;
  std::string promised_;
  bool ended_ = false;
  Headers trailers_;
};

// aws-chunked: "SIZE[;chunk-signature=HEX]\r\n" BYTES "\r\n" …, ended by a chunk of size 0, then the trailers.
class ChunkedBody final : public VerifiedBody {
 public:
  struct Signing {
    std::shared_ptr<const HmacKey> key;
    std::string amz_date;
    std::string scope;     // "date/region/service/aws4_request"
    std::string previous;  // the signature before the next one: each is chained to the last
  };

  ChunkedBody(std::unique_ptr<Body> inner, std::uint64_t decoded_length, std::set<std::string> announced,
              bool with_trailer, std::optional<Signing> signing)
      : inner_(std::move(inner)),
        decoded_length_(decoded_length),
        announced_(std::move(announced)),
        with_trailer_(with_trailer),
        signing_(std::move(signing)),
        buffer_(kBufferBytes, '\0') {}

  Awaitable<std::size_t> read_some(std::span<char> into) override {
    if (into.empty()) co_return 0;
    while (state_ != State::kEnded) {
      if (state_ == State::kData) {
        const std::size_t count = co_await read_data(into);
        co_return count;
      }
      if (state_ == State::kDataEnd) {
        const std::string line = co_await read_line();
        if (!line.empty()) malformed("a chunk is longer than its size says");
        state_ = State::kSize;
      }
      co_await read_chunk_head();
    }
    co_return 0;
  }

  std::optional<std::uint64_t> length() const override { return decoded_length_; }
  const Headers& trailers() const override { return trailers_; }

 private:
  enum class State { kSize, kData, kDataEnd, kEnded };

  [[noreturn]] static void malformed(const char* how) {
    throw BodyError(Fault::kMalformedChunk, fmt::format("reading an aws-chunked body: {}", how));
  }
  [[noreturn]] static void malformed_trailer(const char* how) {
    throw BodyError(Fault::kMalformedTrailer, fmt::format("reading the trailer of an aws-chunked body: {}", how));
  }
  [[noreturn]] static void incomplete() {
    throw BodyError(Fault::kIncomplete,
                    "You did not provide the number of bytes specified by the Content-Length HTTP header.");
  }

  // False at the end of what was sent.
  Awaitable<bool> fill() {
    if (at_ == end_) at_ = end_ = 0;
    if (end_ == buffer_.size()) {
      std::memmove(buffer_.data(), buffer_.data() + at_, end_ - at_);
      end_ -= at_;
      at_ = 0;
    }
    ATHANOR_ASSERT(end_ < buffer_.size());
    const std::size_t count = co_await inner_->read_some(std::span(buffer_).subspan(end_));
    end_ += count;
    co_return count != 0;
  }

  // Up to and without "\r\n" (or, as some clients write trailers, "\n").
  Awaitable<std::string> read_line() {
    for (;;) {
      const std::string_view have(buffer_.data() + at_, end_ - at_);
      const std::size_t newline = have.find('\n');
      if (newline != std::string_view::npos) {
        at_ += newline + 1;
        std::string_view line = have.substr(0, newline);
        if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
        co_return std::string(line);
      }
      if (have.size() >= kLineBytesMax) malformed("a line is longer than 8 KiB");
      const bool more = co_await fill();
      if (!more) incomplete();
    }
  }

  Awaitable<void> read_chunk_head() {
    const std::string line = co_await read_line();
    const std::size_t semicolon = std::min(line.find(';'), line.size());
    std::uint64_t size = 0;
    const char* const last = line.data() + semicolon;
    const auto [end, error] = std::from_chars(line.data(), last, size, 16);
    if (semicolon == 0 || error != std::errc() || end != last) malformed("a chunk's size is not a hexadecimal number");
    if (signing_) {
      constexpr std::string_view kName = ";chunk-signature=";
      const std::string_view extension = std::string_view(line).substr(semicolon);
      if (extension.substr(0, kName.size()) != kName) malformed("a chunk has no signature");
      chunk_signature_ = extension.substr(kName.size());
      hasher_.emplace("SHA256");
    }
    if (size > decoded_length_ - passed_) incomplete();
    left_ = size;
    if (size != 0) {
      state_ = State::kData;
      co_return;
    }
    if (signing_) check_chunk_signature();
    if (passed_ != decoded_length_) incomplete();
    if (with_trailer_) {
      co_await read_trailer();
    } else {
      const std::string blank = co_await read_line();
      if (!blank.empty()) malformed("something follows the last chunk");
    }
    co_await read_nothing_more();
    state_ = State::kEnded;
  }

  Awaitable<std::size_t> read_data(std::span<char> into) {
    into = into.first(static_cast<std::size_t>(std::min<std::uint64_t>(into.size(), left_)));
    std::size_t count = std::min(into.size(), end_ - at_);
    if (count != 0) {
      std::memcpy(into.data(), buffer_.data() + at_, count);
      at_ += count;
    } else {
      count = co_await inner_->read_some(into);
      if (count == 0) incomplete();
    }
    if (signing_) hasher_->update({into.data(), count});
    left_ -= count;
    passed_ += count;
    if (left_ == 0) {
      if (signing_) check_chunk_signature();
      state_ = State::kDataEnd;
    }
    co_return count;
  }

  void check_chunk_signature() {
    std::string text =
        "AWS4-HMAC-SHA256-PAYLOAD\n" + signing_->amz_date + "\n" + signing_->scope + "\n" + signing_->previous + "\n";
    text.append(kEmptySha256).append("\n").append(to_hex(hasher_->finish()));
    check_signature(text, chunk_signature_);
  }

  void check_signature(const std::string& text, const std::string& signature) {
    if (!equal_constant_time(signing_->key->sign_hex(text), signature)) {
      throw BodyError(Fault::kSignatureMismatch,
                      "The request signature we calculated does not match the signature you provided. Check your key "
                      "and signing method.");
    }
    signing_->previous = signature;
  }

  Awaitable<void> read_trailer() {
    std::string signed_text;
    bool signature_seen = false;
    for (std::size_t lines = 0;; ++lines) {
      if (lines == kTrailerLinesMax) malformed_trailer("it has too many lines");
      const std::string line = co_await read_line();
      if (line.empty()) {
        if (!signing_ || signature_seen) break;
        continue;  // some clients part the headers from their signature by a blank line
      }
      const std::size_t colon = line.find(':');
      if (colon == std::string::npos || colon == 0) malformed_trailer("a line is not 'name:value'");
      const std::string name = lower_case(trimmed(std::string_view(line).substr(0, colon)));
      const std::string value(trimmed(std::string_view(line).substr(colon + 1)));
      if (signing_ && name == "x-amz-trailer-signature") {
        check_signature("AWS4-HMAC-SHA256-TRAILER\n" + signing_->amz_date + "\n" + signing_->scope + "\n" +
                            signing_->previous + "\n" + to_hex(sha256(signed_text)),
                        value);
        signature_seen = true;
        continue;
      }
      if (signature_seen) malformed_trailer("a header follows the signature");
      if (announced_.erase(name) == 0) malformed_trailer("a header was not announced by x-amz-trailer, or comes twice");
      signed_text += name + ":" + value + "\n";
      trailers_.add(name, value);
    }
    if (!announced_.empty()) malformed_trailer("a header that x-amz-trailer announced is missing");
  }

  Awaitable<void> read_nothing_more() {
    std::size_t blanks = 0;
    for (;;) {
      for (; at_ != end_; ++at_) {
        const bool blank = buffer_[at_] == '\r' || buffer_[at_] == '\n';
        if (!blank || ++blanks > 16) malformed("something follows the end");
      }
      const bool more = co_await fill();
      if (!more) co_return;
    }
  }

  std::unique_ptr<Body> inner_;
  const std::uint64_t decoded_length_;
  std::set<std::string> announced_;  // names still to come
  const bool with_trailer_;
  std::optional<Signing> signing_;

  std::string buffer_;
  std::size_t at_ = 0, end_ = 0;  // what is buffered and not yet used
  State state_ = State::kSize;
  std::uint64_t left_ = 0;    // of the present chunk
  std::uint64_t passed_ = 0;  // of all chunks
  std::optional<Hasher> hasher_;
  std::string chunk_signature_;
  Headers trailers_;
};

std::uint64_t decoded_length(const Headers& headers) {
  const std::string* text = headers.find("x-amz-decoded-content-length");
  std::uint64_t length = 0;
  if (text != nullptr) {
    const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), length);
    if (error == std::errc() && end == text->data() + text->size()) return length;
  }
  throw BodyError(Fault::kLengthMissing, "You must provide the x-amz-decoded-content-length HTTP header.");
}

std::set<std::string> announced_trailers(const Headers& headers) {
  std::set<std::string> names;
  for (const auto& [name, value] : headers) {
    if (!equal_without_case(name, "x-amz-trailer")) continue;
    std::string_view rest = value;
    while (!rest.empty()) {
      const std::size_t comma = std::min(rest.find(','), rest.size());
      const std::string_view one = trimmed(rest.substr(0, comma));
      if (!one.empty()) names.insert(lower_case(one));
      rest = rest.substr(std::min(comma + 1, rest.size()));
    }
  }
  return names;
}

}  // namespace

std::unique_ptr<VerifiedBody> open_verified_body(Request& request, const SignatureClaim& claim,
                                                 std::shared_ptr<const HmacKey> key) {
  auto inner = std::exchange(request.body, std::make_unique<StringBody>(""));
  switch (claim.payload) {
    case PayloadMode::kSha256: return std::make_unique<HashedBody>(std::move(inner), claim.payload_hash);
    case PayloadMode::kStreamingSigned:
    case PayloadMode::kStreamingSignedTrailer: {
      ATHANOR_ASSERT(key != nullptr);
      const Scope& scope = claim.scope;
      ChunkedBody::Signing signing{std::move(key), claim.amz_date,
                                   scope.date + "/" + scope.region + "/" + scope.service + "/aws4_request",
                                   claim.signature};
      return std::make_unique<ChunkedBody>(std::move(inner), decoded_length(request.headers),
                                           announced_trailers(request.headers),
                                           claim.payload == PayloadMode::kStreamingSignedTrailer, std::move(signing));
    }
    case PayloadMode::kStreamingUnsignedTrailer:
      return std::make_unique<ChunkedBody>(std::move(inner), decoded_length(request.headers),
                                           announced_trailers(request.headers), true, std::nullopt);
    case PayloadMode::kAbsent:
    case PayloadMode::kUnsigned:
    case PayloadMode::kUnknown: return std::make_unique<PlainBody>(std::move(inner));
  }
  return nullptr;
}

}  // namespace athanor::wire
