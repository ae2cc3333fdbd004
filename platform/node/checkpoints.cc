#include "platform/node/checkpoints.h"

#include <fmt/format.h>

#include <chrono>
#include <cstdlib>
#include <set>

#include "common/error.h"
#include "common/log.h"
#include "platform/storage/channel_copy.h"

namespace athanor::node {

namespace {

constexpr std::size_t kCompleteMax = 1024;
constexpr std::int64_t kPauseFirst_ms = 500;
constexpr std::int64_t kPauseMax_ms = 10'000;

bool same(const FolderEntry& a, const FolderEntry& b) {
  return a.size == b.size && a.modified_ns == b.modified_ns && a.inode == b.inode;
}

}  // namespace

CheckpointPlan plan_checkpoints(const std::vector<FolderEntry>& present,
                                const std::map<std::string, FolderEntry>& known, std::int64_t now_ns, bool all) {
  CheckpointPlan plan;
  std::set<std::string> there;
  for (const FolderEntry& entry : present) {
    // Links and special files are no checkpoints; to S3 they are not there.
    if (entry.type != FolderEntry::Type::kFile) continue;
    there.insert(entry.path);
    const auto found = known.find(entry.path);
    if (found != known.end() && same(found->second, entry)) continue;
    const std::int64_t still_ns = now_ns - entry.modified_ns;
    // A time in the future (a copied file's) says nothing about whether it is still being written, unless it is a near one:
    // the folder was walked after the clock was read.
    if (all || std::abs(still_ns) >= Checkpoints::kStill_ms * 1'000'000) plan.upload.push_back(entry);
  }
  for (const auto& [path, entry] : known) {
    if (!there.contains(path)) plan.remove.push_back(path);
  }
  return plan;
}

Checkpoints::Checkpoints(storage::S3Client& client, const std::string& uri, Place place, Files& files,
                         const Clock& clock)
    : client_(client), prefix_(storage::S3Uri::parse(uri)), place_(std::move(place)), files_(files), clock_(clock) {
  files_.make_folders(place_.base + "/" + place_.path, 0755);
}

Checkpoints::~Checkpoints() {
  {
    const std::lock_guard hold(mutex_);
    closing_ = true;
    cancelled_ = true;
  }
  wake_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void Checkpoints::restore(const std::function<void(std::uint64_t)>& progress) {
  storage::S3Uri prefix = prefix_;
  if (!prefix.key.empty() && !prefix.key.ends_with('/')) prefix.key += '/';
  storage::ChannelSource source;
  source.channel = "checkpoints";
  source.uri = prefix.text();
  const std::vector<storage::S3Object> objects = client_.list(prefix.bucket, prefix.key);
  if (objects.empty()) return;
  const std::vector<storage::ChannelFile> plan = storage::place_keys(source, prefix, objects);
  const std::string folder = place_.base + "/" + place_.path;
  storage::copy_channel(client_, plan, folder, files_, progress);
  for (const FolderEntry& entry : FolderView(folder).walk()) {
    if (entry.type == FolderEntry::Type::kFile) known_.emplace(entry.path, entry);
  }
}

void Checkpoints::start() {
  thread_ = std::thread([this] { run(); });
}

void Checkpoints::complete(std::string path) {
  {
    const std::lock_guard hold(mutex_);
    // A program that says it this often gains nothing by it: the next look finds the rest.
    if (complete_.size() < kCompleteMax) complete_.push_back(std::move(path));
  }
  wake_.notify_all();
}

void Checkpoints::finish(std::function<void(std::optional<std::string>)> done) {
  {
    const std::lock_guard hold(mutex_);
    done_ = std::move(done);
  }
  wake_.notify_all();
}

// Uploads what is new and removes what is gone, below `from`.
void Checkpoints::look(const std::string& from, bool all) {
  const std::optional<FolderView> view = FolderView(place_.base, place_.called).folder(place_.path);
  std::map<std::string, FolderEntry> known;
  for (const auto& [path, entry] : known_) {
    if (from.empty() || path == from || path.starts_with(from + "/")) known.emplace(path, entry);
  }
  const CheckpointPlan plan =
      plan_checkpoints(view ? view->walk(from) : std::vector<FolderEntry>(), known, clock_.wall_ms() * 1'000'000, all);
  for (const FolderEntry& entry : plan.upload) {
    if (cancelled_) throw Error(ErrorKind::kUnavailable, "uploading checkpoints: cancelled");
    const std::optional<Descriptor> file = view->open(entry.path);
    if (!file) continue;  // gone again: the next look removes it
    try {
      client_.put_from_file(prefix_.below(entry.path), fmt::format("/proc/self/fd/{}", file->get()),
                            [this](std::uint64_t) {
                              if (cancelled_) throw Error(ErrorKind::kUnavailable, "uploading checkpoints: cancelled");
                            });
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::kConflict) throw;
      continue;  // it changed while it travelled: the next look takes it up
    }
    known_[entry.path] = entry;
  }
  for (const std::string& path : plan.remove) {
    client_.remove(prefix_.below(path));
    known_.erase(path);
  }
}

void Checkpoints::pause(std::int64_t milliseconds) {
  std::unique_lock hold(mutex_);
  wake_.wait_for(hold, std::chrono::milliseconds(milliseconds), [this] { return closing_; });
}

void Checkpoints::run() {
  std::int64_t pause_ms = kPauseFirst_ms;
  for (;;) {
    std::string from;
    bool last = false;
    {
      std::unique_lock hold(mutex_);
      wake_.wait_for(hold, std::chrono::milliseconds(kLook_ms),
                     [this] { return closing_ || done_ || !complete_.empty(); });
      if (closing_) return;
      if (!complete_.empty()) from = complete_.front();
      last = from.empty() && done_ != nullptr;
    }
    std::optional<std::string> failure;
    try {
      look(from, last || !from.empty());
      // Nothing changes during the last look, because the program has ended: there is no need of another.
      pause_ms = kPauseFirst_ms;
      const std::lock_guard hold(mutex_);
      if (!from.empty()) complete_.pop_front();
    } catch (const Error& error) {
      if (error.kind() == ErrorKind::kUnavailable) {
        log::warning("node", "checkpoints wait: {}", error.what());
        pause(pause_ms);
        pause_ms = std::min(2 * pause_ms, kPauseMax_ms);
        continue;
      }
      failure = error.what();
    } catch (const std::exception& error) {
      failure = error.what();
    }
    if (last) return done_(failure);
    if (!failure) continue;
    // The next look finds what this one left undone.
    log::warning("node", "checkpoints are not uploaded: {}", *failure);
    {
      const std::lock_guard hold(mutex_);
      if (!from.empty()) complete_.pop_front();
    }
    pause(kPauseFirst_ms);
  }
}

}  // namespace athanor::node
