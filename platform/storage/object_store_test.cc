#include "platform/storage/object_store.h"

#include <gmock/gmock.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <filesystem>
#include <map>
#include <mutex>
#include <thread>

#include "common/crashing_files_test_support.h"
#include "common/random.h"
#include "common/temporary_folder.h"

namespace athanor::storage {
namespace {

using testing::ElementsAre;
using Fault = StoreError::Fault;

// Runs one of the store's calls to its end and gives its result, or throws its refusal.
template <typename T, typename Start>
T wait_for(const Start& start) {
  std::mutex mutex;
  std::condition_variable changed;
  bool over = false;
  std::exception_ptr failure;
  T result{};
  start([&](std::exception_ptr refused, T value) {
    const std::lock_guard lock(mutex);
    failure = refused;
    result = std::move(value);
    over = true;
    changed.notify_one();
  });
  std::unique_lock lock(mutex);
  changed.wait(lock, [&] { return over; });
  if (failure) std::rethrow_exception(failure);
  return result;
}

// The system's files, on a device that is full after so many bytes.
class FullFiles final : public Files {
 public:
  std::atomic<std::uint64_t> bytes_left = UINT64_MAX;

  std::unique_ptr<File> open(const std::string& path, Open how, std::uint32_t mode) override {
    return std::make_unique<FullFile>(real_.open(path, how, mode), bytes_left);
  }
  std::optional<FileInfo> stat(const std::string& path) override { return real_.stat(path); }
  std::vector<std::string> list(const std::string& path) override { return real_.list(path); }
  void make_folders(const std::string& path, std::uint32_t mode) override { real_.make_folders(path, mode); }
  void rename(const std::string& from, const std::string& to) override { real_.rename(from, to); }
  bool remove(const std::string& path) override { return real_.remove(path); }
  void sync_folder(const std::string& path) override { real_.sync_folder(path); }

 private:
  class FullFile final : public File {
   public:
    FullFile(std::unique_ptr<File> real, std::atomic<std::uint64_t>& bytes_left)
        : real_(std::move(real)), bytes_left_(bytes_left) {}
    std::size_t read_at(std::uint64_t offset, std::span<char> into) override { return real_->read_at(offset, into); }
    void write_at(std::uint64_t offset, std::string_view bytes) override {
      std::uint64_t left = bytes_left_;
      do {
        if (bytes.size() > left) throw system_error(ENOSPC, "writing");
      } while (!bytes_left_.compare_exchange_weak(left, left - bytes.size()));
      real_->write_at(offset, bytes);
    }
    void append(std::string_view bytes) override { write_at(size(), bytes); }
    std::uint64_t size() override { return real_->size(); }
    void truncate(std::uint64_t size) override { real_->truncate(size); }
    void sync() override { real_->sync(); }

   private:
    const std::unique_ptr<File> real_;
    std::atomic<std::uint64_t>& bytes_left_;
  };

  SystemFiles real_;
};

class ObjectStoreTest : public testing::Test {
 protected:
  ObjectStoreTest() {
    reopen();
    create_bucket("b");
  }

  void reopen() {
    store_.reset();
    store_ = ObjectStore::open(folder_, files_, clock_, random_);
  }

  void create_bucket(const std::string& name) {
    wait_for<ObjectStore::Nothing>([&](auto done) { store_->create_bucket(name, done); });
  }
  ObjectInfo put(const std::string& key, std::string_view bytes, Conditions conditions = {}) {
    auto body = store_->receive({});
    for (std::size_t at = 0; at < bytes.size(); at += 10'000) body->write(bytes.substr(at, 10'000));
    body->finish();
    return wait_for<ObjectInfo>([&](auto done) {
      store_->put({"b",
                   key,
                   std::move(body),
                   {{"Content-Type", "x/y"}},
                   ChecksumAlgorithm::kCrc64Nvme,
                   "",
                   std::move(conditions)},
                  done);
    });
  }
  std::string get(const std::string& key) {
    const OpenObject object = store_->open_object("b", key);
    if (!object.descriptor) return object.small;
    return read(object, object.slice(0, object.info.size));
  }
  static std::string read(const OpenObject& object, const std::vector<Extent>& pieces) {
    std::string bytes;
    for (const Extent& piece : pieces) {
      std::string part(piece.length, '\0');
      EXPECT_EQ(::pread(*object.descriptor, part.data(), part.size(), static_cast<off_t>(piece.offset)),
                static_cast<ssize_t>(part.size()));
      bytes += part;
    }
    return bytes;
  }
  bool remove(const std::string& key) {
    return wait_for<bool>([&](auto done) { store_->remove("b", key, "", done); });
  }
  std::string start_upload(const std::string& key, ChecksumAlgorithm algorithm = ChecksumAlgorithm::kCrc64Nvme,
                           ChecksumType type = ChecksumType::kFullObject) {
    UploadInfo info;
    info.key = key;
    info.algorithm = algorithm;
    info.type = type;
    return wait_for<UploadInfo>([&](auto done) { store_->create_upload("b", info, done); }).id;
  }
  PartInfo put_part(const std::string& key, const std::string& id, std::uint32_t number, std::string_view bytes) {
    auto body = store_->receive_part("b", key, id, number, bytes.size(), {});
    body->write(bytes);
    body->finish();
    return wait_for<PartInfo>([&](auto done) { store_->put_part(id, number, std::move(body), done); });
  }
  ObjectInfo complete(const std::string& key, const std::string& id, const std::vector<PartInfo>& parts) {
    CompleteRequest request{"b", key, id, {}, "", std::nullopt, {}};
    for (const PartInfo& part : parts) request.parts.push_back({part.number, part.etag, ""});
    return wait_for<ObjectInfo>([&](auto done) { store_->complete_upload(request, done); });
  }
  std::size_t body_files() const {
    std::size_t count = 0;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(folder_ + "/bodies")) {
      if (entry.is_regular_file()) ++count;
    }
    return count;
  }
  // Files go on a thread of their own.
  void expect_body_files(std::size_t count) const {
    for (int i = 0; i < 500 && body_files() != count; ++i) ::usleep(2'000);
    EXPECT_EQ(body_files(), count);
  }
  template <typename Call>
  static void expect_fault(Fault fault, const Call& call) {
    try {
      call();
      ADD_FAILURE() << "not refused";
    } catch (const StoreError& error) {
      EXPECT_EQ(error.fault(), fault) << error.what();
    }
  }

  const TemporaryFolder temporary_;
  const std::string folder_ = temporary_.path();
  FullFiles files_;
  VirtualClock clock_{1'700'000'000'000};
  SeededRandom random_{1};
  std::unique_ptr<ObjectStore> store_;
};

std::string pattern(std::size_t size, std::uint64_t seed = 1) {
  SeededRandom random(seed);
  std::string bytes(size, '\0');
  for (char& c : bytes) c = static_cast<char>(random.next());
  return bytes;
}

TEST_F(ObjectStoreTest, Buckets) {
  create_bucket("a");
  expect_fault(Fault::kBucketExists, [&] { create_bucket("a"); });
  put("key", "x");
  const auto drop = [&](const char* name) {
    wait_for<ObjectStore::Nothing>([&](auto done) { store_->delete_bucket(name, done); });
  };
  expect_fault(Fault::kBucketNotEmpty, [&] { drop("b"); });
  expect_fault(Fault::kNoSuchBucket, [&] { drop("c"); });
  drop("a");
  reopen();
  ASSERT_EQ(store_->list_buckets().size(), 1u);
  EXPECT_EQ(store_->list_buckets()[0].name, "b");
  EXPECT_FALSE(store_->find_bucket("a"));
  EXPECT_EQ(store_->find_bucket("b")->created_ms, 1'700'000'000'000);
}

TEST_F(ObjectStoreTest, KeepsBodiesOfEverySizeOverARestart) {
  const std::size_t sizes[] = {0,        1, 9'999, kSmallBodyBytesMax - 1, kSmallBodyBytesMax, kSmallBodyBytesMax + 1,
                               3'000'000};
  for (const std::size_t size : sizes) put(std::to_string(size), pattern(size, size));
  reopen();
  for (const std::size_t size : sizes) {
    EXPECT_TRUE(get(std::to_string(size)) == pattern(size, size)) << size;
    const ObjectInfo info = store_->stat("b", std::to_string(size));
    EXPECT_EQ(info.size, size);
    EXPECT_EQ(info.headers, (ObjectHeaders{{"Content-Type", "x/y"}}));
    EXPECT_EQ(info.checksum.value, checksum_of(ChecksumAlgorithm::kCrc64Nvme, pattern(size, size)));
  }
  EXPECT_EQ(store_->stat("b", "0").etag, "d41d8cd98f00b204e9800998ecf8427e");
  expect_body_files(2);
}

TEST_F(ObjectStoreTest, KeysAreBytesAndNotPaths) {
  const std::string keys[] =
      {"a", "a/b", "a//b", "/", "../../etc/passwd", "a/../b", "\xff\x01", std::string("n\0l", 3)};
  for (const std::string& key : keys) put(key, key + "!");
  for (const std::string& key : keys) EXPECT_EQ(get(key), key + "!");
  for (const std::string& key : keys) EXPECT_TRUE(remove(key));
  EXPECT_FALSE(remove("a"));
  expect_fault(Fault::kNoSuchKey, [&] { get("a"); });
}

TEST_F(ObjectStoreTest, ReplacingAndRemovingFreesFiles) {
  put("k", pattern(100'000));
  expect_body_files(1);
  const OpenObject old = store_->open_object("b", "k");
  put("k", pattern(200'000, 2));
  expect_body_files(1);
  EXPECT_TRUE(read(old, old.slice(0, 100'000)) == pattern(100'000)) << "an open object stays whole";
  put("k", "small");
  expect_body_files(0);
  EXPECT_EQ(get("k"), "small");
}

TEST_F(ObjectStoreTest, ABodyThatIsGivenUpLeavesNothing) {
  {
    auto body = store_->receive({});
    body->write(pattern(100'000));
    EXPECT_EQ(body_files(), 1u);
  }
  EXPECT_EQ(body_files(), 0u);
  {
    auto body = store_->receive({});
    body->write(pattern(100'000));
    body->finish();
    expect_fault(Fault::kNoSuchBucket, [&] {
      wait_for<ObjectInfo>([&](auto done) { store_->put({"none", "k", std::move(body)}, done); });
    });
  }
  expect_body_files(0);
}

TEST_F(ObjectStoreTest, ConditionsOfWrites) {
  put("k", "1", {std::nullopt, true});
  expect_fault(Fault::kPreconditionFailed, [&] { put("k", "2", {std::nullopt, true}); });
  const std::string etag = store_->stat("b", "k").etag;
  put("k", "3", {etag, false});
  expect_fault(Fault::kPreconditionFailed, [&] { put("k", "4", {etag, false}); });
  expect_fault(Fault::kNoSuchKey, [&] { put("none", "4", {etag, false}); });
  EXPECT_EQ(get("k"), "3");
}

TEST_F(ObjectStoreTest, CopiesShareABodyUntilTheLastGoes) {
  put("k", pattern(100'000));
  const auto copy = [&](const std::string& from, const std::string& to) {
    CopyRequest request;
    request.from_bucket = request.bucket = "b";
    request.from_key = from;
    request.key = to;
    return wait_for<ObjectInfo>([&](auto done) { store_->copy(request, done); });
  };
  copy("k", "l");
  copy("l", "l");
  EXPECT_EQ(body_files(), 1u);
  EXPECT_TRUE(remove("k"));
  EXPECT_TRUE(get("l") == pattern(100'000));
  EXPECT_TRUE(remove("l"));
  expect_body_files(0);
  expect_fault(Fault::kNoSuchKey, [&] { copy("l", "m"); });
}

TEST_F(ObjectStoreTest, UploadsOfEqualPartsBecomeOneStretchInWhateverOrderTheyCome) {
  const std::string whole = pattern(3 * kPartBytesMin + 12'345);
  const std::string id = start_upload("k");
  std::map<std::uint32_t, PartInfo> parts;
  for (const std::uint32_t number : {2u, 4u, 1u, 3u}) {
    parts[number] =
        put_part("k", id, number, std::string_view(whole).substr((number - 1) * kPartBytesMin, kPartBytesMin));
    if (number == 2) reopen();
  }
  const ObjectInfo info = complete("k", id, {parts[1], parts[2], parts[3], parts[4]});
  EXPECT_TRUE(info.etag.ends_with("-4"));
  EXPECT_EQ(info.size, whole.size());
  EXPECT_EQ(info.checksum.value, checksum_of(ChecksumAlgorithm::kCrc64Nvme, whole));
  reopen();
  const OpenObject object = store_->open_object("b", "k");
  EXPECT_EQ(object.extents.size(), 1u);
  EXPECT_TRUE(read(object, object.slice(0, whole.size())) == whole);
  SeededRandom random(7);
  for (int i = 0; i < 50; ++i) {
    const std::uint64_t offset = random.below(whole.size());
    const std::uint64_t length = random.below(whole.size() - offset);
    EXPECT_TRUE(read(object, object.slice(offset, length)) == whole.substr(offset, length));
  }
}

TEST_F(ObjectStoreTest, PartsOfAnySizesInAnyOrderAndReplaced) {
  SeededRandom random(8);
  for (int round = 0; round < 5; ++round) {
    const std::string id = start_upload("k", ChecksumAlgorithm::kSha256, ChecksumType::kComposite);
    std::map<std::uint32_t, std::string> bytes;
    std::map<std::uint32_t, PartInfo> parts;
    for (int i = 0; i < 8; ++i) {
      const auto number = static_cast<std::uint32_t>(1 + random.below(5));
      bytes[number] = pattern(kPartBytesMin + random.below(100'000), random.next());
      parts[number] = put_part("k", id, number, bytes[number]);
    }
    std::vector<PartInfo> chosen;
    std::string whole;
    for (const auto& [number, part] : parts) {
      chosen.push_back(part);
      whole += bytes[number];
    }
    complete("k", id, chosen);
    EXPECT_TRUE(get("k") == whole);
  }
  expect_body_files(1);
}

TEST_F(ObjectStoreTest, RefusesWrongCompletions) {
  const std::string id = start_upload("k");
  const PartInfo one = put_part("k", id, 1, "small");
  const PartInfo two = put_part("k", id, 2, "last");
  PartInfo other = two;
  other.etag = one.etag;
  PartInfo absent = two;
  absent.number = 3;
  expect_fault(Fault::kInvalidPartOrder, [&] { complete("k", id, {two, one}); });
  expect_fault(Fault::kInvalidPart, [&] { complete("k", id, {other}); });
  expect_fault(Fault::kInvalidPart, [&] { complete("k", id, {absent}); });
  expect_fault(Fault::kPartTooSmall, [&] { complete("k", id, {one, two}); });
  expect_fault(Fault::kNoSuchUpload, [&] { complete("other key", id, {one}); });
  expect_fault(Fault::kNoSuchUpload, [&] { complete("k", "none", {one}); });
  EXPECT_EQ(complete("k", id, {one}).size, 5u);
  expect_fault(Fault::kNoSuchUpload, [&] { complete("k", id, {one}); });
}

TEST_F(ObjectStoreTest, AbortedUploadsLeaveNothing) {
  const std::string id = start_upload("k");
  put_part("k", id, 1, "part");
  EXPECT_EQ(store_->list_uploads("b", {}).size(), 1u);
  EXPECT_EQ(store_->list_parts(id, 0, 10).size(), 1u);
  wait_for<ObjectStore::Nothing>([&](auto done) { store_->abort_upload("b", "k", id, done); });
  EXPECT_TRUE(store_->list_uploads("b", {}).empty());
  expect_body_files(0);
}

// Clients send a part again while others end the upload: what is complete stays as it is, what was aborted stays away.
TEST_F(ObjectStoreTest, PartsThatComeAsTheirUploadEndsTouchNothing) {
  const std::string whole = pattern(100'000);
  const std::string other = pattern(100'000, 2);
  for (int round = 0; round < 60; ++round) {
    const bool completes = round % 2 == 0;
    const std::string id = start_upload(completes ? "kept" : "aborted");
    const PartInfo part = put_part(completes ? "kept" : "aborted", id, 1, whole);
    std::vector<std::thread> late;
    for (int i = 0; i < 4; ++i) {
      late.emplace_back([&] {
        expect_fault(Fault::kNoSuchUpload, [&] {
          for (;;) {
            const auto body = store_->receive_part("b", completes ? "kept" : "aborted", id, 1, other.size(), {});
            body->write(other);
          }
        });
      });
    }
    ::usleep(2'000);
    if (completes) {
      complete("kept", id, {part});
    } else {
      wait_for<ObjectStore::Nothing>([&](auto done) { store_->abort_upload("b", "aborted", id, done); });
    }
    for (std::thread& thread : late) thread.join();
    ASSERT_TRUE(get("kept") == whole) << "round " << round;
  }
  expect_body_files(1);
}

TEST_F(ObjectStoreTest, UploadsThatNobodyGoesOnWithEndAfterAWeek) {
  const auto uploads = [&] {
    std::vector<std::string> keys;
    for (const UploadInfo& upload : store_->list_uploads("b", {})) keys.push_back(upload.key);
    return keys;
  };
  const std::string left = start_upload("left");
  const std::string live = start_upload("live");
  put_part("left", left, 1, "part");
  const PartInfo first = put_part("live", live, 1, pattern(kPartBytesMin));
  clock_.advance_ms(kUploadIdleMax_ms / 2);
  const PartInfo second = put_part("live", live, 2, "part");
  clock_.advance_ms(kUploadIdleMax_ms / 2);
  start_upload("at the bound");
  EXPECT_THAT(uploads(), ElementsAre("at the bound", "left", "live"));
  clock_.advance_ms(3600'000);
  start_upload("beyond");
  EXPECT_THAT(uploads(), ElementsAre("at the bound", "beyond", "live")) << "as other uploads begin";
  expect_body_files(1);
  expect_fault(Fault::kNoSuchUpload, [&] { put_part("left", left, 2, "more"); });
  complete("live", live, {first, second});

  clock_.advance_ms(kUploadIdleMax_ms + 1);
  reopen();
  start_upload("after");
  EXPECT_THAT(uploads(), ElementsAre("after")) << "and as the store opens";
  EXPECT_EQ(get("live").size(), kPartBytesMin + 4);
}

TEST_F(ObjectStoreTest, ListsUploadsByKeyAndIdInPages) {
  for (const char* key : {"b", "a", "a", "c", "a"}) start_upload(key);
  std::vector<std::string> keys;
  UploadQuery query;
  query.count_max = 2;
  for (int page = 0; page < 5; ++page) {
    const auto uploads = store_->list_uploads("b", query);
    if (uploads.empty()) break;
    for (const UploadInfo& upload : uploads) keys.push_back(upload.key);
    query.key_marker = uploads.back().key;
    query.id_marker = uploads.back().id;
  }
  EXPECT_THAT(keys, ElementsAre("a", "a", "a", "b", "c"));
}

// Every listing against the definition, over keys made to collide.
TEST_F(ObjectStoreTest, ListsAsDefined) {
  SeededRandom random(9);
  std::map<std::string, int> keys;
  const char alphabet[] = {'a', 'b', '/', '\xff', '\xfe'};
  for (int i = 0; i < 150; ++i) {
    std::string key;
    for (std::uint64_t length = 1 + random.below(5); length > 0; --length) key += alphabet[random.below(5)];
    keys[key] = 1;
  }
  for (const auto& [key, one] : keys) put(key, key);
  for (int round = 0; round < 300; ++round) {
    ListQuery query;
    const auto some = [&](std::uint64_t most) {
      std::string text;
      for (std::uint64_t length = random.below(most); length > 0; --length) text += alphabet[random.below(5)];
      return text;
    };
    query.prefix = some(3);
    query.delimiter = random.below(3) == 0 ? "" : random.below(4) == 0 ? "a/" : "/";
    query.count_max = 1 + random.below(7);

    std::vector<std::string> expected;  // in order; groups and keys alike
    for (const auto& [key, one] : keys) {
      if (!key.starts_with(query.prefix)) continue;
      const auto cut = query.delimiter.empty() ? std::string::npos : key.find(query.delimiter, query.prefix.size());
      const std::string name = cut == std::string::npos ? key : "group " + key.substr(0, cut + query.delimiter.size());
      if (expected.empty() || expected.back() != name) expected.push_back(name);
    }
    std::vector<std::string> found;
    for (int page = 0; page < 200; ++page) {
      const Listing listing = store_->list("b", query);
      ASSERT_LE(listing.objects.size() + listing.groups.size(), query.count_max);
      std::vector<std::string> names;
      for (const ObjectInfo& object : listing.objects) names.push_back(object.key);
      for (const std::string& group : listing.groups) names.push_back("group " + group);
      std::sort(names.begin(), names.end(), [](std::string a, std::string b) {
        if (a.starts_with("group ")) a = a.substr(6);
        if (b.starts_with("group ")) b = b.substr(6);
        return a < b;
      });
      found.insert(found.end(), names.begin(), names.end());
      if (!listing.truncated) break;
      query.start_after = listing.last;
    }
    ASSERT_EQ(found, expected) << "prefix '" << query.prefix << "', delimiter '" << query.delimiter << "'";
  }
}

TEST_F(ObjectStoreTest, AFullDiskIsACleanRefusal) {
  put("old", pattern(100'000));
  files_.bytes_left = 150'000;
  try {
    put("new", pattern(1'000'000));
    ADD_FAILURE() << "not refused";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kExhausted);
  }
  expect_body_files(1);
  expect_fault(Fault::kNoSuchKey, [&] { get("new"); });
  files_.bytes_left = UINT64_MAX;
  EXPECT_TRUE(get("old") == pattern(100'000));
  put("new", pattern(1'000'000));
}

// At every change of a body's file the process ends, or the power fails: what was acknowledged is whole, and nothing else
// takes room.
TEST_F(ObjectStoreTest, KeepsWhatItAcknowledgedWhateverChangeIsTheLast) {
  const std::string large = pattern(100'000);
  bool ended = false;
  for (std::int64_t at = 0; !ended; ++at) {
    for (const bool power : {false, true}) {
      SCOPED_TRACE(testing::Message() << "change " << at << (power ? ", power lost" : ""));
      CrashingFiles crashing(INT64_MAX);
      store_.reset();
      store_ = ObjectStore::open(folder_, crashing, clock_, random_);
      for (const char* key : {"one", "two"}) remove(key);
      crashing.crash_at(at);
      bool kept[2] = {false, false};
      try {
        put("one", large);
        kept[0] = true;
        const std::string id = start_upload("two");
        const PartInfo part = put_part("two", id, 1, large);
        complete("two", id, {part});
        kept[1] = true;
        put("one", large);
        ended = !crashing.crashed();
      } catch (const Error&) {
        EXPECT_TRUE(crashing.crashed());
      }
      store_.reset();
      if (power) crashing.lose_power();
      reopen();
      EXPECT_TRUE(!kept[0] || get("one") == large);
      EXPECT_TRUE(!kept[1] || get("two") == large);
      const std::size_t begun = store_->list_uploads("b", {}).empty() ? 0 : 1;
      EXPECT_LE(body_files(), std::size_t{kept[0]} + std::size_t{kept[1]} + begun);
      for (const UploadInfo& upload : store_->list_uploads("b", {})) {
        wait_for<ObjectStore::Nothing>([&](auto done) { store_->abort_upload("b", upload.key, upload.id, done); });
      }
    }
  }
}

TEST_F(ObjectStoreTest, ManyWritersShareCommits) {
  std::vector<std::thread> writers;
  for (int w = 0; w < 8; ++w) {
    writers.emplace_back([&, w] {
      for (int i = 0; i < 50; ++i) {
        const std::string key = std::to_string(w) + "/" + std::to_string(i);
        put(key, key);
        EXPECT_EQ(get(key), key);
      }
    });
  }
  for (auto& writer : writers) writer.join();
  ListQuery query;
  query.delimiter = "/";
  EXPECT_EQ(store_->list("b", query).groups.size(), 8u);
}

TEST_F(ObjectStoreTest, RefusesADatabaseThatIsNotOurs) {
  store_.reset();
  std::filesystem::remove_all(folder_);
  std::filesystem::create_directory(folder_);
  files_.open(folder_ + "/objects.db", Files::Open::kTruncate, 0600)->append(std::string(4096, 'x'));
  try {
    reopen();
    ADD_FAILURE() << "not refused";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kCorrupt) << error.what();
  }
}

// kill -9 at any moment: what was acknowledged is there, and no file is left that nothing names.
TEST_F(ObjectStoreTest, LosesNothingAcknowledgedWhenKilled) {
  SeededRandom random(10);
  std::map<std::uint32_t, std::uint32_t> acknowledged;  // key to version
  std::uint32_t version = 0;
  const auto body_of = [](std::uint32_t key, std::uint32_t of_version) {
    return pattern(of_version % 3 == 0 ? 200'000 : 5'000, key * 1'000'003ull + of_version);
  };
  for (int round = 0; round < 10; ++round) {
    store_.reset();
    int report[2];
    ASSERT_EQ(::pipe(report), 0);
    const pid_t child = ::fork();
    if (child == 0) {
      reopen();
      for (std::uint32_t next = version + 1;; ++next) {
        const std::uint32_t said[2] = {next % 7, next};
        put(std::to_string(said[0]), body_of(said[0], next));
        if (::write(report[1], said, sizeof(said)) != sizeof(said)) ::_exit(1);
      }
    }
    ::close(report[1]);
    std::uint32_t said[2];
    const auto one_more = [&] {
      if (::read(report[0], said, sizeof(said)) != sizeof(said)) return false;
      acknowledged[said[0]] = said[1];
      version = said[1];
      return true;
    };
    // However slow the disk is, every other round gets somewhere.
    if (round % 2 == 1) {
      EXPECT_TRUE(one_more());
    }
    ::usleep(static_cast<useconds_t>(10'000 + random.below(60'000)));
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    while (one_more()) continue;
    ::close(report[0]);
    reopen();
    std::size_t files = 0;
    for (auto& [key, of_version] : acknowledged) {
      const std::string bytes = get(std::to_string(key));
      // The one that was on its way may have come through.
      if (key == (version + 1) % 7 && bytes == body_of(key, version + 1)) of_version = version + 1;
      EXPECT_TRUE(bytes == body_of(key, of_version)) << "key " << key << ", round " << round;
    }
    for (const ObjectInfo& object : store_->list("b", {}).objects) files += object.size > kSmallBodyBytesMax ? 1 : 0;
    EXPECT_EQ(body_files(), files);
    version += 1;
  }
  EXPECT_GT(version, 10u);
}

}  // namespace
}  // namespace athanor::storage
