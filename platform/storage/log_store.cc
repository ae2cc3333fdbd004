#include "platform/storage/log_store.h"

#include <algorithm>
#include <map>
#include <mutex>
#include <shared_mutex>

#include "common/error.h"
#include "common/json.h"
#include "common/log.h"
#include "platform/storage/log_stream_file.h"

namespace athanor::storage {

namespace {

class LogStore final : public Logs {
 public:
  LogStore(std::string folder, Files& files, const Clock& clock)
      : folder_(std::move(folder)), files_(files), clock_(clock) {
    files_.make_folders(folder_, 0700);
    for (const std::string& number : files_.list(folder_)) load(number);
  }

  std::uint64_t append(const std::string& group, const std::string& stream, const std::string& sender,
                       std::uint64_t source_offset, std::uint64_t source_end,
                       const std::vector<LogEvent>& events) override {
    const auto file = find_or_create(group, stream, sender);
    return file->append(sender, source_offset, source_end, events, clock_.wall_ms());
  }

  bool has_group(const std::string& group) const override {
    const std::shared_lock lock(mutex_);
    return groups_.contains(group);
  }

  std::vector<std::string> groups() const override {
    const std::shared_lock lock(mutex_);
    std::vector<std::string> names;
    for (const auto& [name, streams] : groups_) names.push_back(name);
    return names;
  }

  std::vector<LogStream> streams(const std::string& group, std::string_view prefix) const override {
    std::vector<LogStream> result;
    for (const auto& file : with_prefix(group, prefix)) result.push_back(file->describe());
    return result;
  }

  std::vector<LogEvent> read(const std::string& group, const std::string& stream, std::uint64_t position,
                             std::size_t count, std::size_t bytes_max) const override {
    return find(group, stream)->read(position, count, bytes_max);
  }

  std::uint64_t seek(const std::string& group, const std::string& stream, std::int64_t timestamp_ms) const override {
    return find(group, stream)->seek(timestamp_ms);
  }

 private:
  using Streams = std::map<std::string, std::shared_ptr<LogStreamFile>, std::less<>>;

  void load(const std::string& number) {
    if (number.empty() || number.find_first_not_of("0123456789") != std::string::npos || number.size() > 18) return;
    next_number_ = std::max<std::uint64_t>(next_number_, std::stoull(number) + 1);
    const std::string folder = folder_ + "/" + number;
    if (!files_.stat(folder + "/name")) {
      files_.remove_all(folder);
      return;
    }
    const auto name = json::parse(files_.read_all(folder + "/name"), folder + "/name").as_object();
    const std::string stream = json::get_string(name, "stream");
    groups_[json::get_string(name, "group")][stream] =
        std::make_shared<LogStreamFile>(folder, stream, json::find_string(name, "sender").value_or(""),
                                        json::get_int(name, "created_ms"), files_);
  }

  std::shared_ptr<LogStreamFile> find_or_null(const std::string& group, const std::string& stream) const {
    const std::shared_lock lock(mutex_);
    const auto streams = groups_.find(group);
    if (streams == groups_.end()) return nullptr;
    const auto file = streams->second.find(stream);
    return file == streams->second.end() ? nullptr : file->second;
  }

  std::shared_ptr<LogStreamFile> find(const std::string& group, const std::string& stream) const {
    auto file = find_or_null(group, stream);
    if (!file) throw Error(ErrorKind::kNotFound, "The specified log stream does not exist.");
    return file;
  }

  std::shared_ptr<LogStreamFile> find_or_create(const std::string& group, const std::string& stream,
                                                const std::string& sender) {
    if (auto file = find_or_null(group, stream)) return file;
    const std::lock_guard create_lock(create_mutex_);
    if (auto file = find_or_null(group, stream)) return file;
    const std::int64_t created_ms = clock_.wall_ms();
    const std::string folder = folder_ + "/" + std::to_string(next_number_++);
    files_.make_folders(folder, 0700);
    const json::object name = {{"group", group}, {"stream", stream}, {"sender", sender}, {"created_ms", created_ms}};
    files_.replace(folder + "/name", json::serialize(name), 0600);
    auto file = std::make_shared<LogStreamFile>(folder, stream, sender, created_ms, files_);
    files_.sync_folder(folder);
    files_.sync_folder(folder_);
    const std::unique_lock lock(mutex_);
    groups_[group][stream] = file;
    return file;
  }

  std::vector<std::shared_ptr<LogStreamFile>> with_prefix(const std::string& group, std::string_view prefix) const {
    const std::shared_lock lock(mutex_);
    std::vector<std::shared_ptr<LogStreamFile>> result;
    const auto found = groups_.find(group);
    if (found == groups_.end()) return result;
    const Streams& streams = found->second;
    for (auto at = streams.lower_bound(prefix); at != streams.end() && at->first.starts_with(prefix); ++at) {
      result.push_back(at->second);
    }
    return result;
  }

  const std::string folder_;
  Files& files_;
  const Clock& clock_;
  std::mutex create_mutex_;        // taken before the other
  std::uint64_t next_number_ = 1;  // guarded by create_mutex_
  mutable std::shared_mutex mutex_;
  std::map<std::string, Streams, std::less<>> groups_;  // guarded by mutex_
};

}  // namespace

std::unique_ptr<Logs> open_log_store(const std::string& folder, Files& files, const Clock& clock) {
  return std::make_unique<LogStore>(folder, files, clock);
}

}  // namespace athanor::storage
