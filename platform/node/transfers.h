// The agent's blocking work with S3: its client, the worker thread it runs on, and the copying down before a start.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "common/clock.h"
#include "common/error.h"
#include "common/files.h"
#include "platform/node/artifacts.h"
#include "platform/node/checkpoints.h"
#include "platform/node/job_spec.h"
#include "platform/node/server_place.h"
#include "platform/storage/s3_client.h"

namespace athanor::node {

// The job's object store, with the credentials of its role.
class JobStorage {
 public:
  // `server`, which outlives it, is where this process reaches our endpoint, which jobs reach at `endpoint_inside`. `folder`
  // takes the certificates that the job brings.
  JobStorage(const JobSpec& job, const ServerPlace& server, const std::string& endpoint_inside,
             const std::string& folder, const Clock& clock, Files& files);
  storage::S3Client& client() { return *client_; }

 private:
  std::unique_ptr<storage::S3Client> client_;
};

// One piece of work at a time, on a thread of its own; what comes of it is told through `post`. Work that ends with
// kUnavailable (the store did not answer) is done again, after 0.5 to 10 s, for ever, unless cancelled.
class Worker {
 public:
  explicit Worker(std::function<void(std::function<void()>)> post) : post_(std::move(post)) {}
  ~Worker();

  // `done` hears the error, or null; nothing at all when cancelled. Cancels what was under way, and begins when that has
  // ended; does not wait.
  void start(std::function<void(const std::function<bool()>& cancelled)> body, std::function<void(const Error*)> done);
  void cancel();

 private:
  std::function<void(std::function<void()>)> post_;
  std::shared_ptr<std::atomic<bool>> cancelled_ = std::make_shared<std::atomic<bool>>(false);
  std::thread thread_;
};

// All channels, each into FOLDER/NAME. Throws as plan_channel() and copy_channel() do; kUnavailable when cancelled.
void download_channels(storage::S3Client& client, const Prepare& prepare, const std::string& folder, Files& files,
                       const std::function<bool()>& cancelled);
void restore_checkpoints(Checkpoints& checkpoints, const std::function<bool()>& cancelled);

}  // namespace athanor::node
