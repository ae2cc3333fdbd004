#include "platform/storage/channel_copy.h"

#include <gmock/gmock.h>

#include "common/error.h"

namespace athanor::storage {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

// Paths in the channel's folder, folders with a '/' behind.
std::vector<std::string> placed(const std::string& uri, const std::vector<std::string>& keys, std::uint32_t index = 0,
                                std::uint32_t count = 0) {
  ChannelSource source{.channel = "train", .uri = uri};
  if (count > 0) {
    source.distribution = ChannelSource::Distribution::kShardedByKey;
    source.instance_index = index;
    source.instance_count = count;
  }
  std::vector<S3Object> objects;
  for (const auto& key : keys) objects.push_back({key, 1, "\"e\""});
  std::vector<std::string> paths;
  for (const auto& file : place_keys(source, S3Uri::parse(uri), objects)) {
    EXPECT_EQ(file.from.bucket, "b");
    paths.push_back(file.path + (file.folder ? "/" : ""));
  }
  return paths;
}

std::string refused(const std::string& uri, const std::vector<std::string>& keys) {
  try {
    placed(uri, keys);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kInvalid);
    return error.what();
  }
  return "not refused";
}

TEST(PlaceKeys, KeepsWhatFollowsThePrefixsLastSlash) {
  EXPECT_THAT(placed("s3://b/data/", {"data/b", "data/a", "data/c/d"}), ElementsAre("a", "b", "c/d"));
  EXPECT_THAT(placed("s3://b/dat", {"data/a", "database"}), ElementsAre("data/a", "database"))
      << "a prefix is no folder";
  EXPECT_THAT(placed("s3://b/x/dat", {"x/data/a", "x/database"}), ElementsAre("data/a", "database"));
  EXPECT_THAT(placed("s3://b", {"a", "b/c"}), ElementsAre("a", "b/c"));
  EXPECT_THAT(placed("s3://b/one/file.txt", {"one/file.txt"}), ElementsAre("file.txt"));
}

TEST(PlaceKeys, APrefixThatIsAFolderNeedsNoSlash) {
  EXPECT_THAT(placed("s3://b/data/mnist", {"data/mnist/train/x", "data/mnist/y"}), ElementsAre("train/x", "y"));
  EXPECT_THAT(placed("s3://b/data", {"data/", "data/a", "data-2/b", "database"}),
              ElementsAre("a", "data-2/b", "database"));
  EXPECT_THAT(placed("s3://b/d", {"d/1", "d/2", "d/3"}, 1, 2), ElementsAre("2"));
  EXPECT_THAT(refused("s3://b/d", {"d/d2", "d2"}),
              HasSubstr("the keys 'd/d2' and 'd2' of channel 'train' would both be its file 'd2'"));
}

TEST(PlaceKeys, MakesFoldersOfKeysThatEndInASlash) {
  EXPECT_THAT(placed("s3://b/data/", {"data/", "data/empty/", "data/a"}), ElementsAre("a", "empty/"));
}

TEST(PlaceKeys, DealsSortedKeysRoundRobin) {
  const std::vector<std::string> keys = {"d/4", "d/1", "d/3", "d/2", "d/5"};
  EXPECT_THAT(placed("s3://b/d/", keys, 0, 2), ElementsAre("1", "3", "5"));
  EXPECT_THAT(placed("s3://b/d/", keys, 1, 2), ElementsAre("2", "4"));
  EXPECT_THAT(placed("s3://b/d/", {"d/1"}, 1, 2), IsEmpty());
}

TEST(PlaceKeys, RefusesByNameWhatCannotBeAFileInTheFolder) {
  for (const char* key : {"d/../x", "d/a/../../x", "d/./x", "d/a//b", "d//x"}) {
    EXPECT_THAT(refused("s3://b/d/", {key}), HasSubstr(key));
  }
  EXPECT_THAT(refused("s3://b/d/", {std::string("d/nul\0byte", 10)}), HasSubstr("d/nul"));
  EXPECT_THAT(refused("s3://b/d/", {"d/a", "d/a/b"}),
              HasSubstr("the key 'd/a' of channel 'train' is both a file and a folder"));
}

}  // namespace
}  // namespace athanor::storage
