#include "platform/wire/verified_body.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <future>

#include "platform/wire/sigv4.h"

namespace athanor::wire {
namespace {

using Fault = BodyError::Fault;

template <typename T>
T run(Awaitable<T> work) {
  boost::asio::io_context context;
  auto result = std::make_shared<std::promise<T>>();
  boost::asio::co_spawn(context, std::move(work), [result](std::exception_ptr failure, T value) {
    if (failure) {
      result->set_exception(failure);
    } else {
      result->set_value(std::move(value));
    }
  });
  context.run();
  return result->get_future().get();
}

// Hands out a string in pieces of a given size, as a network would.
class Dribble final : public Body {
 public:
  Dribble(std::string bytes, std::size_t piece) : bytes_(std::move(bytes)), piece_(piece) {}
  Awaitable<std::size_t> read_some(std::span<char> into) override {
    const std::size_t count = std::min({into.size(), piece_, bytes_.size() - at_});
    bytes_.copy(into.data(), count, at_);
    at_ += count;
    co_return count;
  }
  std::optional<std::uint64_t> length() const override { return std::nullopt; }

 private:
  std::string bytes_;
  std::size_t piece_, at_ = 0;
};

const Credentials kExample{"AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", ""};
constexpr std::int64_t kExampleTime_ms = 1369353600000;

struct Upload {
  std::string mode;
  std::string seed;  // expected seed signature, or empty
  std::vector<std::pair<std::string, std::string>> headers;
};

struct Outcome {
  std::string bytes;
  Headers trailers;
  std::optional<Fault> fault;
};

Outcome read_upload(const Upload& upload, const std::string& body, std::size_t piece = 1 << 16) {
  Headers headers;
  headers.add("Host", "s3.amazonaws.com");
  headers.add("content-encoding", "aws-chunked");
  headers.add("x-amz-storage-class", "REDUCED_REDUNDANCY");
  for (const auto& [name, value] : upload.headers) headers.add(name, value);
  const std::string target = "/examplebucket/chunkObject.txt";
  const Signature signature =
      sign_request("PUT", target, headers, kExample, "us-east-1", "s3", kExampleTime_ms, upload.mode);
  if (!upload.seed.empty()) {
    EXPECT_EQ(signature.signature, upload.seed);
  }

  Request request;
  request.method = "PUT";
  set_target(request, target);
  request.headers = headers;
  request.body = std::make_unique<Dribble>(body, piece);
  const SignatureClaim claim = read_signature(request);
  SigningKeys keys;
  const auto verdict =
      verify_signature(request, claim, kExample.secret_access_key, keys, {"us-east-1", "s3", kExampleTime_ms, ""});
  EXPECT_TRUE(verdict.ok());
  Outcome outcome;
  try {
    const auto opened = open_verified_body(request, claim, verdict.key);
    outcome.bytes = run(read_all(*opened, 1 << 20));
    outcome.trailers = opened->trailers();
  } catch (const BodyError& error) {
    outcome.fault = error.fault();
  }
  return outcome;
}

std::string chunk(std::string_view data, const std::string& signature) {
  return fmt::format("{:x};chunk-signature={}\r\n{}\r\n", data.size(), signature, data);
}

// The S3 reference's example of signed chunks: 66560 times 'a', in chunks of 64 KiB.
const Upload kSigned{"STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
                     "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9",
                     {{"Content-Length", "66824"}, {"x-amz-decoded-content-length", "66560"}}};
const std::string kSignedBody =
    chunk(std::string(65536, 'a'), "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648") +
    chunk(std::string(1024, 'a'), "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497") +
    "0;chunk-signature=b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9\r\n\r\n";

// And its example of a signed trailer.
const Upload kTrailer{"STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
                      "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e",
                      {{"x-amz-decoded-content-length", "66560"}, {"x-amz-trailer", "x-amz-checksum-crc32c"}}};
const std::string kTrailerBody =
    chunk(std::string(65536, 'a'), "b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2") +
    chunk(std::string(1024, 'a'), "1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7") +
    "0;chunk-signature=2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992\r\n"
    "x-amz-checksum-crc32c:sOO8/Q==\r\n"
    "x-amz-trailer-signature:d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435\r\n\r\n";

const Upload kUnsigned{"STREAMING-UNSIGNED-PAYLOAD-TRAILER",
                       "",
                       {{"x-amz-decoded-content-length", "11"}, {"x-amz-trailer", "x-amz-checksum-crc32"}}};

TEST(VerifiedBody, ReadsTheExamplesOfTheS3Reference) {
  for (const std::size_t piece : {1, 7, 4096, 1 << 17}) {
    const Outcome signed_chunks = read_upload(kSigned, kSignedBody, piece);
    EXPECT_EQ(signed_chunks.fault, std::nullopt);
    EXPECT_EQ(signed_chunks.bytes, std::string(66560, 'a'));
    const Outcome with_trailer = read_upload(kTrailer, kTrailerBody, piece);
    EXPECT_EQ(with_trailer.fault, std::nullopt);
    EXPECT_EQ(with_trailer.bytes, std::string(66560, 'a'));
    EXPECT_EQ(with_trailer.trailers.get_or("X-Amz-Checksum-Crc32c", ""), "sOO8/Q==");
  }
}

TEST(VerifiedBody, ReadsUnsignedChunksAsBotocoreAndTheCrtSendThem) {
  for (const std::size_t piece : {1, 3, 100}) {
    const Outcome outcome =
        read_upload(kUnsigned, "6\r\nhello \r\n5\r\nworld\r\n0\r\nx-amz-checksum-crc32:DUoRhQ==\r\n\r\n", piece);
    EXPECT_EQ(outcome.fault, std::nullopt);
    EXPECT_EQ(outcome.bytes, "hello world");
    EXPECT_EQ(outcome.trailers.get_or("x-amz-checksum-crc32", ""), "DUoRhQ==");
  }
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const std::size_t at = text.rfind(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

TEST(VerifiedBody, RefusesWhatIsTamperedWith) {
  struct Case {
    const char* name;
    const Upload& upload;
    std::string body;
    Fault fault;
  };
  const std::string trailer = "x-amz-checksum-crc32:DUoRhQ==\r\n";
  const std::string plain = "b\r\nhello world\r\n0\r\n" + trailer + "\r\n";
  const Case cases[] = {
      {"a byte changed", kSigned, replaced(kSignedBody, "aa", "ab"), Fault::kSignatureMismatch},
      {"a chunk left out", kSigned, kSignedBody.substr(65536 + 90), Fault::kSignatureMismatch},
      {"the end cut off", kSigned, kSignedBody.substr(0, 66000), Fault::kIncomplete},
      {"last chunk's signature", kSigned, replaced(kSignedBody, "b6c6", "b6c7"), Fault::kSignatureMismatch},
      {"no chunk signature", kSigned, replaced(kSignedBody, ";chunk-signature", ";chunk"), Fault::kMalformedChunk},
      {"trailer's value", kTrailer, replaced(kTrailerBody, "sOO8", "sOO9"), Fault::kSignatureMismatch},
      {"trailer's signature", kTrailer, replaced(kTrailerBody, "d81f", "d81e"), Fault::kSignatureMismatch},
      {"no trailer signature", kTrailer, kTrailerBody.substr(0, kTrailerBody.find("x-amz-trailer-sig")) + "\r\n",
       Fault::kIncomplete},
      {"more than announced", kUnsigned, "c\r\nhello world!\r\n0\r\n" + trailer + "\r\n", Fault::kIncomplete},
      {"less than announced", kUnsigned, "a\r\nhello worl\r\n0\r\n" + trailer + "\r\n", Fault::kIncomplete},
      {"size is not hexadecimal", kUnsigned, "0x" + plain, Fault::kMalformedChunk},
      {"size is empty", kUnsigned, "\r\n" + plain, Fault::kMalformedChunk},
      {"size is negative", kUnsigned, "-" + plain, Fault::kMalformedChunk},
      {"size overflows", kUnsigned, "fffffffffffffffff" + plain, Fault::kMalformedChunk},
      {"size is enormous", kUnsigned, "fffffffffffffff" + plain, Fault::kIncomplete},
      {"chunk longer than its size", kUnsigned, "b\r\nhello worldly\r\n0\r\n" + trailer + "\r\n",
       Fault::kMalformedChunk},
      {"no trailer", kUnsigned, "b\r\nhello world\r\n0\r\n\r\n", Fault::kMalformedTrailer},
      {"twice the trailer", kUnsigned, "b\r\nhello world\r\n0\r\n" + trailer + trailer + "\r\n",
       Fault::kMalformedTrailer},
      {"another trailer", kUnsigned, "b\r\nhello world\r\n0\r\nx-evil:1\r\n\r\n", Fault::kMalformedTrailer},
      {"trailer without colon", kUnsigned, "b\r\nhello world\r\n0\r\nnonsense\r\n\r\n", Fault::kMalformedTrailer},
      {"something after the end", kUnsigned, plain + "GET", Fault::kMalformedChunk},
      {"an endless line", kUnsigned, std::string(20000, '1'), Fault::kMalformedChunk},
      {"nothing at all", kUnsigned, "", Fault::kIncomplete},
  };
  for (const Case& one : cases) {
    for (const std::size_t piece : {5, 1 << 17}) {
      const Outcome outcome = read_upload(one.upload, one.body, piece);
      EXPECT_EQ(outcome.fault, one.fault) << one.name;
    }
  }
}

TEST(VerifiedBody, WantsTheDecodedLength) {
  Upload upload = kUnsigned;
  upload.headers = {{"x-amz-trailer", "x-amz-checksum-crc32"}};
  EXPECT_EQ(read_upload(upload, "0\r\n\r\n").fault, Fault::kLengthMissing);
  upload.headers.emplace_back("x-amz-decoded-content-length", "1e3");
  EXPECT_EQ(read_upload(upload, "0\r\n\r\n").fault, Fault::kLengthMissing);
}

TEST(VerifiedBody, ChecksAPromisedHash) {
  const Upload right{to_hex(sha256("hello")), "", {}};
  EXPECT_EQ(read_upload(right, "hello").bytes, "hello");
  EXPECT_EQ(read_upload(right, "hellO").fault, Fault::kHashMismatch);
  EXPECT_EQ(read_upload(right, "").fault, Fault::kHashMismatch);
  EXPECT_EQ(read_upload({std::string(kUnsignedPayload), "", {}}, "anything").bytes, "anything");
}

}  // namespace
}  // namespace athanor::wire
