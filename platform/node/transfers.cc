#include "platform/node/transfers.h"

#include <algorithm>
#include <chrono>

#include "common/log.h"
#include "platform/storage/channel_copy.h"

namespace athanor::node {

namespace {

constexpr std::int64_t kPauseFirst_ms = 500;
constexpr std::int64_t kPauseMax_ms = 10'000;

std::function<void(std::uint64_t)> ends_when(const std::function<bool()>& cancelled) {
  return [cancelled](std::uint64_t) {
    if (cancelled()) throw Error(ErrorKind::kUnavailable, "copying: cancelled");
  };
}

void pause(std::int64_t pause_ms, const std::atomic<bool>& cancelled) {
  for (std::int64_t waited_ms = 0; waited_ms < pause_ms && !cancelled; waited_ms += 50) {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
}

}  // namespace

JobStorage::JobStorage(const JobSpec& job, const ServerPlace& server, const std::string& endpoint_inside,
                       const std::string& folder, const Clock& clock, Files& files) {
  storage::S3Client::Options options;
  const bool ours = job.s3_endpoint.empty() || job.s3_endpoint == endpoint_inside;
  options.endpoint = ours ? server.now().url() : job.s3_endpoint;
  if (ours) options.where = [&server] { return server.now(); };
  options.region = job.region;
  if (!job.ca_bundle.empty()) {
    options.ca_file = folder + "/ca.pem";
    files.open(options.ca_file, Files::Open::kTruncate, 0600)->append(job.ca_bundle);
  }
  const wire::Credentials credentials{job.credentials.access_key_id, job.credentials.secret_access_key,
                                      job.credentials.session_token};
  client_ = std::make_unique<storage::S3Client>(
      options, [credentials] { return credentials; }, clock, files);
}

Worker::~Worker() {
  cancel();
  if (thread_.joinable()) thread_.join();
}

void Worker::cancel() { *cancelled_ = true; }

void Worker::start(std::function<void(const std::function<bool()>&)> body, std::function<void(const Error*)> done) {
  cancel();
  cancelled_ = std::make_shared<std::atomic<bool>>(false);
  // Cancelled work ends at its next step, which may be a while away; who starts the next does not wait for it.
  thread_ = std::thread([before = std::move(thread_), body = std::move(body), done = std::move(done),
                         cancelled = cancelled_, post = post_]() mutable {
    if (before.joinable()) before.join();
    const std::function<bool()> is_cancelled = [cancelled] { return cancelled->load(); };
    std::shared_ptr<Error> failure;
    std::int64_t pause_ms = kPauseFirst_ms;
    for (;;) {
      failure.reset();
      try {
        body(is_cancelled);
      } catch (const Error& error) {
        failure = std::make_shared<Error>(error);
      } catch (const std::exception& error) {
        failure = std::make_shared<Error>(ErrorKind::kInternal, std::string(error.what()));
      }
      if (!failure || failure->kind() != ErrorKind::kUnavailable || *cancelled) break;
      log::warning("node", "trying again in {} ms: {}", pause_ms, failure->what());
      pause(pause_ms, *cancelled);
      pause_ms = std::min(2 * pause_ms, kPauseMax_ms);
    }
    post([failure, cancelled, done] {
      if (!*cancelled) done(failure.get());
    });
  });
}

void download_channels(storage::S3Client& client, const Prepare& prepare, const std::string& folder, Files& files,
                       const std::function<bool()>& cancelled) {
  for (const Channel& channel : prepare.job.channels) {
    storage::ChannelSource source;
    source.channel = channel.name;
    source.uri = channel.s3_uri;
    source.distribution = channel.sharded ? storage::ChannelSource::Distribution::kShardedByKey
                                          : storage::ChannelSource::Distribution::kFullyReplicated;
    source.instance_index = prepare.instance.index;
    source.instance_count = prepare.instance.count;
    if (cancelled()) throw Error(ErrorKind::kUnavailable, "copying: cancelled");
    const auto plan = storage::plan_channel(client, source);
    storage::copy_channel(client, plan, folder + "/" + channel.name, files, ends_when(cancelled));
  }
}

void restore_checkpoints(Checkpoints& checkpoints, const std::function<bool()>& cancelled) {
  checkpoints.restore(ends_when(cancelled));
}

}  // namespace athanor::node
