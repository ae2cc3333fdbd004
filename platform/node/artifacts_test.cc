#include "platform/node/artifacts.h"

#include <archive.h>
#include <archive_entry.h>
#include <gmock/gmock.h>

#include <future>
#include <map>
#include <mutex>
#include <set>

#include "common/clock.h"
#include "common/error.h"
#include "common/temporary_folder.h"
#include "platform/node/transfers.h"
#include "platform/storage/stub_store_for_test.h"

namespace athanor::node {
namespace {

using storage::Answer;
using storage::Asked;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Key;
using testing::UnorderedElementsAre;

// Objects in memory, by "/BUCKET/KEY".
class Objects {
 public:
  // Of the deletions to come, from 0: those that are refused, and those that are carried out without an answer.
  void fail_deletions(std::set<int> refused, std::set<int> unanswered) {
    const std::lock_guard hold(mutex_);
    deletions_ = 0;
    refused_ = std::move(refused);
    unanswered_ = std::move(unanswered);
  }
  Answer answer(const Asked& asked) {
    const std::lock_guard hold(mutex_);
    if (asked.method == "PUT") {
      kept_[asked.target] = asked.body;
      return {.headers = "ETag: \"e\"\r\n"};
    }
    if (asked.method == "DELETE") {
      const int number = deletions_++;
      if (refused_.contains(number)) return {.status = 503};
      kept_.erase(asked.target);
      return {.status = 204, .lost = unanswered_.contains(number)};
    }
    const auto found = kept_.find(asked.target);
    if (found == kept_.end()) return {.status = 404};
    return {.headers = "ETag: \"e\"\r\n", .body = found->second, .length = found->second.size()};
  }
  std::map<std::string, std::string> all() {
    const std::lock_guard hold(mutex_);
    return kept_;
  }

 private:
  std::mutex mutex_;
  std::map<std::string, std::string> kept_;  // guarded by mutex_
  int deletions_ = 0;                        // guarded by mutex_
  std::set<int> refused_, unanswered_;       // guarded by mutex_
};

std::set<std::string> names_in(const std::string& bytes) {
  archive* reader = archive_read_new();
  archive_read_support_filter_gzip(reader);
  archive_read_support_format_tar(reader);
  EXPECT_EQ(archive_read_open_memory(reader, bytes.data(), bytes.size()), ARCHIVE_OK);
  std::set<std::string> names;
  archive_entry* entry = nullptr;
  while (archive_read_next_header(reader, &entry) == ARCHIVE_OK) names.insert(archive_entry_pathname(entry));
  archive_read_free(reader);
  return names;
}

class ArtifactsTest : public testing::Test {
 protected:
  ArtifactsTest() {
    job_.name = "job";
    job_.output_path = "s3://b/out/";
  }

  // /opt/ml of algo-NUMBER, with these files below it.
  void give(int number, const std::vector<std::string>& paths) {
    for (const std::string& path : paths) {
      const std::string whole = ml(number) + "/" + path;
      files_.make_folders(whole.substr(0, whole.rfind('/')), 0755);
      files_.replace(whole, "of algo-" + std::to_string(number));
    }
  }
  std::string ml(int number) { return folder_ / ("algo-" + std::to_string(number)); }
  Artifacts artifacts(int number) {
    return Artifacts(client_, job_, files_,
                     {.ml = ml(number), .scratch = folder_ / "scratch", .on_note = [](const std::string&) {}});
  }
  std::string stage(int number) { return artifacts(number).stage(static_cast<std::uint32_t>(number - 1)); }
  // As the agent does it: repeated as a whole while the store does not answer.
  void publish(const std::vector<std::string>& staged) {
    std::promise<std::string> told;
    Worker worker([](const std::function<void()>& what) { what(); });
    worker.start([&](const std::function<bool()>&) { artifacts(1).publish(staged); },
                 [&](const Error* failure) { told.set_value(failure == nullptr ? "" : failure->what()); });
    EXPECT_EQ(told.get_future().get(), "");
  }
  std::set<std::string> model() { return names_in(objects_.all()["/b/out/job/output/model.tar.gz"]); }

  const TemporaryFolder folder_;
  SystemClock clock_;
  SystemFiles files_;
  JobSpec job_;
  Objects objects_;
  storage::Stub stub_{[this](const Asked& asked, int) { return objects_.answer(asked); }};
  storage::S3Client client_{{.endpoint = stub_.url(), .tries_max = 2, .pause_first_ms = 2},
                            [] {
                              return wire::Credentials{"key", "secret", ""};
                            },
                            clock_,
                            files_};
};

TEST_F(ArtifactsTest, MergesWhatAllStagedAndRemovesTheParts) {
  give(1, {"model/one"});
  give(2, {"model/two", "output/data/log"});
  give(3, {"model/three"});
  give(4, {"nothing"});
  EXPECT_EQ(stage(4), "");
  publish({stage(2), stage(3)});
  EXPECT_THAT(model(), ElementsAre("one", "three", "two"));
  EXPECT_THAT(names_in(objects_.all()["/b/out/job/output/output.tar.gz"]), ElementsAre("log"));
  EXPECT_THAT(objects_.all(),
              UnorderedElementsAre(Key("/b/out/job/output/model.tar.gz"), Key("/b/out/job/output/output.tar.gz")));
}

TEST_F(ArtifactsTest, AModelStaysWholeWhenItsPartsCannotBeRemoved) {
  give(1, {"model/one"});
  give(2, {"model/two", "output/data/log2"});
  give(3, {"model/three", "output/data/log3"});
  const std::vector<std::string> staged = {stage(2), stage(3)};
  objects_.fail_deletions({1, 2}, {});  // of the second part, as often as it is tried
  publish(staged);
  EXPECT_THAT(model(), ElementsAre("one", "three", "two"));
  EXPECT_THAT(names_in(objects_.all()["/b/out/job/output/output.tar.gz"]), ElementsAre("log2", "log3"));
  EXPECT_TRUE(objects_.all().contains("/b/out/job/output/.staging/algo-3/model.tar"));
  EXPECT_EQ(objects_.all().size(), 3U) << "the others are removed";
}

TEST_F(ArtifactsTest, AModelStaysWholeWhenTheAnswersToDeletionsAreLost) {
  give(1, {"model/one"});
  give(2, {"model/two"});
  give(3, {"model/three"});
  const std::vector<std::string> staged = {stage(2), stage(3)};
  objects_.fail_deletions({}, {0, 1});  // of the first part
  publish(staged);
  EXPECT_THAT(model(), ElementsAre("one", "three", "two"));
  EXPECT_EQ(objects_.all().size(), 1U);
}

TEST_F(ArtifactsTest, WhatAnEarlierJobOfThisNameLeftIsNotMerged) {
  const std::string left = "/b/out/job/output/.staging/algo-2/";
  client_.put({"b", "out/job/output/.staging/algo-2/model.tar"}, "stale");
  client_.put({"b", "out/job/output/.staging/algo-3/model.tar"}, "stale");
  give(1, {"model/one"});
  give(2, {"output/data/log"});
  give(3, {"nothing"});
  const std::string staged = stage(2);
  EXPECT_FALSE(objects_.all().contains(left + "model.tar"));
  EXPECT_EQ(stage(3), "");
  publish({staged});
  EXPECT_THAT(model(), ElementsAre("one"));
}

TEST_F(ArtifactsTest, PartsThatAreGoneAreNoCompleteModel) {
  give(1, {"model/one"});
  give(2, {"model/two"});
  const std::string staged = stage(2);
  client_.remove(storage::S3Uri::parse(staged + "/model.tar"));
  try {
    artifacts(1).publish({staged});
    FAIL() << "published without what algo-2 made";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kNotFound);
    EXPECT_THAT(error.what(), HasSubstr(staged));
  }
  EXPECT_THAT(objects_.all(), testing::IsEmpty());
}

}  // namespace
}  // namespace athanor::node
