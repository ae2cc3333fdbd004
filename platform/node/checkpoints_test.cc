#include "platform/node/checkpoints.h"

#include <gmock/gmock.h>

#include <future>

#include "common/clock.h"
#include "common/temporary_folder.h"
#include "platform/storage/stub_store_for_test.h"

namespace athanor::node {
namespace {

using testing::ElementsAre;

constexpr std::int64_t kNow_ns = 1'700'000'000'000'000'000;
constexpr std::int64_t kStill_ns = Checkpoints::kStill_ms * 1'000'000;

FolderEntry entry(std::int64_t age_ns, std::uint64_t size = 1, std::uint64_t inode = 1) {
  return {.path = "f", .size = size, .modified_ns = kNow_ns - age_ns, .inode = inode};
}
FolderEntry of_type(FolderEntry::Type type) {
  FolderEntry made = entry(kStill_ns);
  made.type = type;
  return made;
}

TEST(PlanCheckpoints, DecidesByWhatIsThereAndWhatIsKnown) {
  struct Case {
    const char* what;
    std::optional<FolderEntry> present, known;
    bool uploads, uploads_all;  // without and with `all`
    bool removes;
  };
  const FolderEntry old = entry(10 * kStill_ns);
  const Case kCases[] = {
      {"nothing at all", {}, {}, false, false, false},
      {"new, and still for long enough", entry(kStill_ns), {}, true, true, false},
      {"new, and perhaps being written", entry(kStill_ns - 1), {}, false, true, false},
      {"new, of this very moment", entry(0), {}, false, true, false},
      {"new, written after the clock was read", entry(-1), {}, false, true, false},
      {"new, with a time in the future", entry(-kStill_ns), {}, true, true, false},
      {"known as it is", old, old, false, false, false},
      {"known, larger now", entry(10 * kStill_ns, 2), old, true, true, false},
      {"known, written again", entry(2 * kStill_ns), old, true, true, false},
      {"known, written again a moment ago", entry(1), old, false, true, false},
      {"known, given an older time", entry(20 * kStill_ns), old, true, true, false},
      {"known, another file in its place", entry(10 * kStill_ns, 1, 2), old, true, true, false},
      {"known, gone now", {}, old, false, false, true},
      {"a folder", of_type(FolderEntry::Type::kFolder), {}, false, false, false},
      {"a link", of_type(FolderEntry::Type::kLink), {}, false, false, false},
      {"neither file, folder nor link", of_type(FolderEntry::Type::kOther), {}, false, false, false},
      {"known, a folder in its place", of_type(FolderEntry::Type::kFolder), old, false, false, true},
      {"known, a link in its place", of_type(FolderEntry::Type::kLink), old, false, false, true},
  };
  for (const Case& given : kCases) {
    std::vector<FolderEntry> present;
    std::map<std::string, FolderEntry> known;
    if (given.present) present.push_back(*given.present);
    if (given.known) known.emplace("f", *given.known);
    for (const bool all : {false, true}) {
      const CheckpointPlan plan = plan_checkpoints(present, known, kNow_ns, all);
      EXPECT_EQ(plan.upload.size(), (all ? given.uploads_all : given.uploads) ? 1U : 0U)
          << given.what << ", all " << all;
      EXPECT_EQ(plan.remove.size(), given.removes ? 1U : 0U) << given.what << ", all " << all;
    }
  }
}

TEST(PlanCheckpoints, KeepsTheOrderOfTheFolder) {
  std::vector<FolderEntry> present;
  for (const char* path : {"a/1", "a/2", "b"}) {
    present.push_back(entry(kStill_ns));
    present.back().path = path;
  }
  const CheckpointPlan plan = plan_checkpoints(present, {{"z", entry(0)}, {"y", entry(0)}}, kNow_ns, false);
  std::vector<std::string> paths;
  for (const FolderEntry& one : plan.upload) paths.push_back(one.path);
  EXPECT_THAT(paths, ElementsAre("a/1", "a/2", "b"));
  EXPECT_THAT(plan.remove, ElementsAre("y", "z"));
}

TEST(CheckpointsTest, ACompleteFolderGoesUpBeforeWhatThereIsBesides) {
  const TemporaryFolder folder;
  SystemFiles files;
  SystemClock clock;
  storage::Stub store([](const storage::Asked&, int) { return storage::Answer{.headers = "ETag: \"e\"\r\n"}; });
  storage::S3Client client(
      {.endpoint = store.url()},
      [] {
        return wire::Credentials{"key", "secret", ""};
      },
      clock, files);
  Checkpoints checkpoints(client, "s3://b/p", {folder.path(), "kept", "/opt/ml"}, files, clock);
  files.make_folders(folder / "kept/step-2", 0755);
  for (const char* name : {"a-newer", "step-2/1", "step-2/2", "z-newer"})
    files.replace(folder / ("kept/" + std::string(name)), name);
  checkpoints.complete("step-2");
  checkpoints.start();
  std::promise<std::optional<std::string>> ended;
  checkpoints.finish([&](std::optional<std::string> failure) { ended.set_value(std::move(failure)); });
  EXPECT_EQ(ended.get_future().get(), std::nullopt);
  EXPECT_THAT(store.lines(),
              ElementsAre("PUT /b/p/step-2/1", "PUT /b/p/step-2/2", "PUT /b/p/a-newer", "PUT /b/p/z-newer"));
}

}  // namespace
}  // namespace athanor::node
