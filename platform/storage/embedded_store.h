// The ObjectStore's implementation: its parts, and what buckets, objects and uploads have in common.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <thread>

#include "platform/storage/body_files.h"
#include "platform/storage/incoming.h"
#include "platform/storage/object_rows.h"
#include "platform/storage/object_store.h"
#include "platform/store/group_commit.h"

namespace athanor::storage {

using store::GroupCommit;

// Connections for reading, handed out one thread at a time. Any thread.
class Readers {
 public:
  explicit Readers(std::string path) : path_(std::move(path)) {}

  class Lease {
   public:
    Lease(Readers& readers, std::unique_ptr<Database> database) : readers_(readers), database_(std::move(database)) {}
    ~Lease() { readers_.give_back(std::move(database_)); }
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;
    Database& operator*() { return *database_; }

   private:
    Readers& readers_;
    std::unique_ptr<Database> database_;
  };
  Lease take();

 private:
  void give_back(std::unique_ptr<Database> database);

  const std::string path_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<Database>> idle_;  // guarded by mutex_
};

// Removes files that no row names any more, beside everything else: taking gigabytes off a file system takes time.
class Remover {
 public:
  explicit Remover(BodyFiles& bodies);
  ~Remover();  // removes what is queued
  void remove(std::vector<std::uint64_t> numbers);

 private:
  void loop();

  BodyFiles& bodies_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::uint64_t> queue_;  // guarded by mutex_
  bool stopping_ = false;            // guarded by mutex_
  std::thread thread_;
};

class EmbeddedStore final : public ObjectStore {
 public:
  EmbeddedStore(const std::string& folder, Files& files, const Clock& clock, Random& random);

  void create_bucket(std::string name, Done<Nothing> done) override;
  void delete_bucket(std::string name, Done<Nothing> done) override;
  std::optional<BucketInfo> find_bucket(const std::string& name) override;
  std::vector<BucketInfo> list_buckets() override;

  std::unique_ptr<IncomingBody> receive(std::vector<ChecksumAlgorithm> algorithms) override;
  void put(PutRequest request, Done<ObjectInfo> done) override;
  void copy(CopyRequest request, Done<ObjectInfo> done) override;
  void remove(std::string bucket, std::string key, std::string if_match, Done<bool> done) override;
  void set_tags(std::string bucket, std::string key, std::string tags, Done<Nothing> done) override;
  ObjectInfo stat(const std::string& bucket, const std::string& key) override;
  OpenObject open_object(const std::string& bucket, const std::string& key) override;
  Listing list(const std::string& bucket, const ListQuery& query) override;

  void create_upload(std::string bucket, UploadInfo info, Done<UploadInfo> done) override;
  std::unique_ptr<IncomingBody> receive_part(const std::string& bucket, const std::string& key,
                                             const std::string& upload_id, std::uint32_t number, std::uint64_t size,
                                             std::vector<ChecksumAlgorithm> algorithms) override;
  void put_part(std::string upload_id, std::uint32_t number, std::shared_ptr<IncomingBody> body,
                Done<PartInfo> done) override;
  void complete_upload(CompleteRequest request, Done<ObjectInfo> done) override;
  void abort_upload(std::string bucket, std::string key, std::string upload_id, Done<Nothing> done) override;
  UploadInfo find_upload(const std::string& bucket, const std::string& key, const std::string& upload_id) override;
  std::vector<PartInfo> list_parts(const std::string& upload_id, std::uint32_t after, std::size_t count_max) override;
  std::vector<UploadInfo> list_uploads(const std::string& bucket, const UploadQuery& query) override;

 private:
  // What a piece of work leaves for after its commit.
  template <typename T>
  struct Result {
    T value{};
    std::vector<std::uint64_t> unnamed;  // files that may go
  };
  // Queues `work(database, result)`; afterwards calls `done` and removes the files that it unnamed.
  template <typename T>
  void submit(std::function<void(Database&, Result<T>&)> work, Done<T> done,
              GroupCommit::Kind kind = GroupCommit::Kind::kAdds);

  // Where the parts of an upload go; read from the database when it is not at hand. Under uploads_mutex_, taken before
  // `database` was looked at.
  std::shared_ptr<PartSpace> part_space(Database& database, const std::string& upload_id);
  void forget_part_space(const std::string& upload_id);
  // Drops uploads to which nothing has come for kUploadIdleMax_ms; looks for them at most every kExpiryPause_ms.
  void expire_uploads();

  const std::string database_path_;
  Files& files_;
  const Clock& clock_;
  Random& random_;  // the writer thread's
  BodyFiles bodies_;
  std::atomic<std::uint64_t> next_body_ = 1;
  std::atomic<std::int64_t> next_expiry_ms_ = 0;
  std::mutex uploads_mutex_;
  std::map<std::string, std::shared_ptr<PartSpace>> part_spaces_;  // guarded by uploads_mutex_; by upload id
  Readers readers_;
  Remover remover_;
  std::unique_ptr<GroupCommit> writer_;  // last: ends first, while the rest still stands
};

// ---- pieces of work, on the writer thread

// Removes a name's claim on a body; the body goes with its last claim, a file into `unnamed`.
void release_body(Database& database, std::uint64_t body, std::vector<std::uint64_t>& unnamed);
// Puts a row in place of whatever was under this key.
void replace_object(Database& database, std::int64_t bucket, const ObjectRow& row, std::vector<std::uint64_t>& unnamed);
// Throws kPreconditionFailed, or kNoSuchKey for an If-Match of nothing.
void check_conditions(Database& database, std::int64_t bucket, const std::string& key, const Conditions& conditions);
// Removes an upload's rows, but for its body.
void remove_upload(Database& database, const std::string& id);

template <typename T>
void EmbeddedStore::submit(std::function<void(Database&, Result<T>&)> work, Done<T> done, GroupCommit::Kind kind) {
  auto result = std::make_shared<Result<T>>();
  writer_->submit(
      kind,
      [result, work = std::move(work)](Database& database) {
        *result = Result<T>();
        work(database, *result);
      },
      [this, result, done = std::move(done)](std::exception_ptr failure) {
        done(failure, std::move(result->value));
        if (!failure && !result->unnamed.empty()) remover_.remove(std::move(result->unnamed));
      });
}

}  // namespace athanor::storage
