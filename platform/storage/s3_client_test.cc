#include "platform/storage/s3_client.h"

#include <gmock/gmock.h>

#include <mutex>
#include <thread>

#include "common/error.h"
#include "common/hash.h"
#include "common/temporary_folder.h"
#include "platform/storage/checksum.h"
#include "platform/storage/stub_store_for_test.h"

namespace athanor::storage {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

class S3ClientTest : public testing::Test {
 protected:
  S3Client client(const Stub& stub) {
    return S3Client(
        {.endpoint = stub.url(), .tries_max = 3, .pause_first_ms = 2, .part_bytes = 1000, .parts_at_once = 3},
        [] {
          return wire::Credentials{"key", "secret", ""};
        },
        clock_, files_);
  }
  std::string write(const std::string& name, const std::string& bytes) {
    const std::string path = folder_ / name;
    files_.replace(path, bytes);
    return path;
  }
  template <typename Call>
  ErrorKind refused(const Call& call) {
    try {
      call();
    } catch (const Error& error) {
      said_ = error.what();
      return error.kind();
    }
    ADD_FAILURE() << "nothing was thrown";
    return ErrorKind::kInternal;
  }
  std::vector<std::string> there() {
    std::vector<std::string> names = files_.list(folder_.path());
    return names;
  }

  const TemporaryFolder folder_;
  SystemClock clock_;
  SystemFiles files_;
  std::string said_;
};

std::string bytes_of(std::size_t size) {
  std::string bytes(size, '\0');
  for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<char>(i * 7 + i / 251);
  return bytes;
}

std::string crc(std::string_view bytes) { return to_base64(checksum_of(ChecksumAlgorithm::kCrc64Nvme, bytes)); }

// One object, with ranges.
Answer object(const Asked& asked, const std::string& bytes, const std::string& checksum) {
  Answer answer{.headers = "ETag: \"v1\"\r\nx-amz-checksum-crc64nvme: " + checksum + "\r\n", .length = bytes.size()};
  if (asked.method == "HEAD") return answer;
  if (asked.header("If-Match") != "\"v1\"") return {.status = 412};
  const std::string range = asked.header("Range");
  answer.body = bytes;
  if (!range.empty()) {
    const std::size_t first = std::stoull(range.substr(6)), last = std::stoull(range.substr(range.find('-') + 1));
    answer.status = 206;
    answer.body = bytes.substr(first, last - first + 1);
  }
  return answer;
}

TEST_F(S3ClientTest, ListsPageByPageAndDecodesKeys) {
  Stub stub([](const Asked& asked, int) {
    const bool second = asked.target.find("continuation-token=next%2F1") != std::string::npos;
    return Answer{
        .body = second
                    ? "<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>a/%C3%BC%20%2B</Key><Size>2</"
                      "Size><ETag>e</ETag></Contents></ListBucketResult>"
                    : "<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>next/1</"
                      "NextContinuationToken><Contents><Key>a%0Ab</Key><Size>1</Size></Contents></ListBucketResult>"};
  });
  const auto objects = client(stub).list("bucket", "a");
  ASSERT_THAT(objects, SizeIs(2));
  EXPECT_EQ(objects[0].key, "a\nb");
  EXPECT_EQ(objects[1].key, "a/ü +");
  EXPECT_EQ(objects[1].size, 2u);
}

TEST_F(S3ClientTest, RepeatsWhatMayPassAndNothingElse) {
  Stub busy([](const Asked&, int nth) { return nth < 2 ? Answer{.status = 503} : Answer{.body = "there"}; });
  EXPECT_EQ(client(busy).get({"b", "k"}), "there");
  EXPECT_THAT(busy.asked(), SizeIs(3));

  Stub lost([](const Asked&, int nth) { return nth < 2 ? Answer{.lost = true} : Answer{.body = "there"}; });
  EXPECT_EQ(client(lost).get({"b", "k"}), "there");

  Stub down([](const Asked&, int) { return Answer{.status = 500}; });
  EXPECT_EQ(refused([&] { client(down).get({"b", "k"}); }), ErrorKind::kUnavailable);
  EXPECT_THAT(down.asked(), SizeIs(3));

  Stub closed([](const Asked&, int) {
    return Answer{.status = 403, .body = "<Error><Code>AccessDenied</Code><Message>No entry</Message></Error>"};
  });
  EXPECT_EQ(refused([&] { client(closed).get({"b", "k"}); }), ErrorKind::kDenied);
  EXPECT_THAT(said_, HasSubstr("GET s3://b/k"));
  EXPECT_THAT(said_, HasSubstr("AccessDenied: No entry"));
  EXPECT_THAT(closed.asked(), SizeIs(1));
}

TEST_F(S3ClientTest, AsksOnceWhereAskingAgainIsNoUse) {
  const std::pair<int, ErrorKind> answers[] = {{507, ErrorKind::kExhausted},
                                               {501, ErrorKind::kInvalid},
                                               {409, ErrorKind::kConflict},
                                               {400, ErrorKind::kInvalid}};
  for (const auto& [status, kind] : answers) {
    Stub stub([status = status](const Asked&, int) { return Answer{.status = status}; });
    EXPECT_EQ(refused([&] { client(stub).put({"b", "k"}, "bytes"); }), kind) << status;
    EXPECT_THAT(stub.asked(), SizeIs(1)) << status;
  }
}

TEST_F(S3ClientTest, ReadsNoMoreIntoMemoryThanAllowed) {
  Stub stub([](const Asked&, int) { return Answer{.body = std::string(5000, 'x')}; });
  EXPECT_EQ(refused([&] { client(stub).get({"b", "k"}, 4999); }), ErrorKind::kExhausted);
}

TEST_F(S3ClientTest, TellsWhetherThereIsAnObject) {
  Stub stub([](const Asked& asked, int) {
    return asked.target == "/b/k"
               ? Answer{.headers = "ETag: \"e\"\r\nX-Amz-Meta-Who: me\r\nContent-Type: text/x\r\n", .length = 7}
               : Answer{.status = 404};
  });
  const auto head = client(stub).head({"b", "k"});
  ASSERT_TRUE(head.has_value());
  EXPECT_EQ(head->size, 7u);
  EXPECT_EQ(head->content_type, "text/x");
  EXPECT_EQ(head->metadata.at("who"), "me");
  EXPECT_FALSE(client(stub).head({"b", "other"}).has_value());
}

TEST_F(S3ClientTest, RefusesASizeThatIsNoNumber) {
  for (const std::string size : {"many", "-1", "12x", "99999999999999999999"}) {
    Stub stub([&](const Asked&, int) { return Answer{.length_text = size}; });
    EXPECT_EQ(refused([&] { client(stub).head({"b", "k"}); }), ErrorKind::kCorrupt) << size;
    EXPECT_THAT(said_, HasSubstr("HEAD s3://b/k"));
    EXPECT_EQ(refused([&] { client(stub).get_to_file({"b", "k"}, folder_ / "file"); }), ErrorKind::kCorrupt) << size;
  }
  EXPECT_THAT(there(), IsEmpty());
}

TEST_F(S3ClientTest, FetchesInRangesOfOneVersion) {
  for (const std::size_t size : {0, 1, 999, 1000, 1001, 12345}) {
    const std::string bytes = bytes_of(size);
    Stub stub([&](const Asked& asked, int) { return object(asked, bytes, crc(bytes)); });
    const std::string path = folder_ / "file";
    std::atomic<std::uint64_t> heard = 0;
    client(stub).get_to_file({"b", "k"}, path, [&](std::uint64_t count) { heard += count; });
    EXPECT_EQ(files_.read_all(path), bytes);
    EXPECT_EQ(heard, size);
    EXPECT_THAT(stub.asked(), SizeIs(1 + std::max<std::size_t>((size + 999) / 1000, 1)));
    EXPECT_THAT(there(), ElementsAre("file")) << "nothing but the file";
  }
}

TEST_F(S3ClientTest, FetchesBesideAnyNeighbour) {
  const std::string bytes = bytes_of(2500);
  Stub stub([&](const Asked& asked, int) { return object(asked, bytes, crc(bytes)); });
  const std::string longest(255, 'n');
  for (const std::string neighbour : {"file.part", "file.tmp", ".file", "file~"}) write(neighbour, "mine");
  client(stub).get_to_file({"b", "k"}, folder_ / "file");
  client(stub).get_to_file({"b", "k"}, folder_ / longest);
  for (const std::string neighbour : {"file.part", "file.tmp", ".file", "file~"}) {
    EXPECT_EQ(files_.read_all(folder_ / neighbour), "mine");
  }
  EXPECT_EQ(files_.read_all(folder_ / longest), bytes);
  EXPECT_THAT(there(), SizeIs(6));
}

TEST_F(S3ClientTest, StreamsInOrderAndPassesNothingTwice) {
  for (const std::size_t size : {0, 1, 999, 1000, 1001, 4500}) {
    const std::string bytes = bytes_of(size);
    Stub stub([&](const Asked& asked, int nth) {
      Answer answer = object(asked, bytes, crc(bytes));
      // Of every answer with bytes, the first breaks off after some of them.
      if (asked.method == "GET" && nth % 2 == 0) answer.breaks_off = true;
      return answer;
    });
    std::string came;
    client(stub).get_streamed({"b", "k"}, [&](std::string_view piece) { came += piece; });
    EXPECT_EQ(came, bytes);
  }
  const std::string bytes = bytes_of(3500);
  Stub wrong([&](const Asked& asked, int) { return object(asked, bytes, crc("other")); });
  EXPECT_EQ(refused([&] { client(wrong).get_streamed({"b", "k"}, [](std::string_view) {}); }), ErrorKind::kCorrupt);
}

TEST_F(S3ClientTest, RefusesWhatIsNotWhatTheStoreKeeps) {
  const std::string bytes = bytes_of(3500);
  Stub wrong([&](const Asked& asked, int) { return object(asked, bytes, crc("other")); });
  EXPECT_EQ(refused([&] { client(wrong).get_to_file({"b", "k"}, folder_ / "file"); }), ErrorKind::kCorrupt);
  Stub replaced([&](const Asked& asked, int) {
    return asked.method == "HEAD" ? object(asked, bytes, crc(bytes)) : Answer{.status = 412};
  });
  EXPECT_EQ(refused([&] { client(replaced).get_to_file({"b", "k"}, folder_ / "file"); }), ErrorKind::kConflict);
  EXPECT_THAT(there(), IsEmpty());
}

TEST_F(S3ClientTest, SendsSmallFilesAtOnceWithTheirChecksum) {
  Stub stub([](const Asked&, int) { return Answer{.headers = "ETag: \"e\"\r\n"}; });
  const std::string bytes = bytes_of(1000);
  client(stub).put_from_file({"b", "a b"}, write("file", bytes));
  const auto asked = stub.asked();
  ASSERT_THAT(stub.lines(), ElementsAre("PUT /b/a%20b"));
  EXPECT_EQ(asked[0].body, bytes);
  EXPECT_EQ(asked[0].header("x-amz-checksum-crc64nvme"), crc(bytes));
}

// Remembers parts; `complete` says how the last request is answered.
struct Multipart {
  std::map<std::string, std::string> parts;
  std::mutex mutex;
  std::function<Answer(int nth)> complete = [](int) { return Answer{.body = "<CompleteMultipartUploadResult/>"}; };
  std::string whole_checksum;

  Answer operator()(const Asked& asked, int nth) {
    const std::lock_guard lock(mutex);
    if (asked.method == "POST" && asked.target == "/b/k?uploads=") {
      return {.body = "<InitiateMultipartUploadResult><UploadId>u1</UploadId></InitiateMultipartUploadResult>"};
    }
    if (asked.method == "PUT") {
      parts[asked.target] = asked.body;
      return {.headers = "ETag: \"e\"\r\n"};
    }
    if (asked.method == "POST") {
      whole_checksum = asked.header("x-amz-checksum-crc64nvme");
      return complete(nth);
    }
    if (asked.method == "HEAD") return {.headers = "x-amz-checksum-crc64nvme: " + whole_checksum + "\r\n"};
    return {.status = 204};
  }
};

TEST_F(S3ClientTest, SendsLargeFilesInPartsAndCompletesThem) {
  Multipart multipart;
  Stub stub([&](const Asked& asked, int nth) { return multipart(asked, nth); });
  const std::string bytes = bytes_of(2500);
  client(stub).put_from_file({"b", "k"}, write("file", bytes));
  ASSERT_THAT(multipart.parts, SizeIs(3));
  EXPECT_EQ(multipart.parts["/b/k?partNumber=2&uploadId=u1"], bytes.substr(1000, 1000));
  EXPECT_EQ(multipart.parts["/b/k?partNumber=3&uploadId=u1"], bytes.substr(2000));
  EXPECT_EQ(multipart.whole_checksum, crc(bytes));
}

TEST_F(S3ClientTest, KnowsACompletionWhoseAnswerWasLost) {
  Multipart multipart;
  const Answer no_such_upload{.status = 404, .body = "<Error><Code>NoSuchUpload</Code></Error>"};
  multipart.complete = [&](int nth) { return nth == 0 ? Answer{.lost = true} : no_such_upload; };
  Stub stub([&](const Asked& asked, int nth) { return multipart(asked, nth); });
  client(stub).put_from_file({"b", "k"}, write("file", bytes_of(2500)));
  EXPECT_EQ(stub.lines().back(), "HEAD /b/k");
}

TEST_F(S3ClientTest, UndoesAnUploadThatFails) {
  Multipart multipart;
  multipart.complete = [](int) {
    return Answer{.body = "<Error><Code>InternalError</Code><Message>late</Message></Error>"};
  };
  Stub stub([&](const Asked& asked, int nth) { return multipart(asked, nth); });
  refused([&] { client(stub).put_from_file({"b", "k"}, write("file", bytes_of(2500))); });
  EXPECT_THAT(said_, HasSubstr("InternalError: late"));
  EXPECT_EQ(stub.lines().back(), "DELETE /b/k?uploadId=u1");
}

TEST_F(S3ClientTest, StreamsWhatHasNoLengthYet) {
  Multipart multipart;
  Stub stub([&](const Asked& asked, int nth) { return multipart(asked, nth); });
  auto s3 = client(stub);
  const std::string bytes = bytes_of(2048);
  {
    const auto upload = s3.start_upload({"b", "k"});
    for (std::size_t at = 0; at < bytes.size(); at += 100) upload->write(std::string_view(bytes).substr(at, 100));
    upload->finish();
  }
  EXPECT_EQ(multipart.whole_checksum, crc(bytes));
  EXPECT_THAT(multipart.parts, SizeIs(3));
  {
    const auto abandoned = s3.start_upload({"b", "k"});
    abandoned->write(bytes);
  }
  EXPECT_EQ(stub.lines().back(), "DELETE /b/k?uploadId=u1");
  const std::size_t before = stub.asked().size();
  {
    const auto small = s3.start_upload({"b", "k"});
    small->write("small");
    EXPECT_EQ(stub.asked().size(), before);
    small->finish();
  }
  EXPECT_EQ(stub.lines().back(), "PUT /b/k");
}

}  // namespace
}  // namespace athanor::storage
