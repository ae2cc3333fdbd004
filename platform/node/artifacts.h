// What a job made, on its way to S3: model.tar.gz and output.tar.gz, or the files as they are (output/model/…,
// output/output/…). Archives are streamed from disk through libarchive into a multipart upload.
//
// With several instances each but the publishing one stages its own archives under a prefix, and the publishing one
// merges them: its own files first, then the others' in order of hosts; of two files with one name the first stands. Then
// it removes the staged parts, as far as it can: parts that stay are no failure, and no later job of this name merges them.
//
// Links that stay inside the folder are kept as links (followed where files travel as they are). Links that leave it
// and special files are left out, and a note says so. A folder that the job removed is an empty one. What cannot be read
// fails the job: a model must not be silently incomplete.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "common/files.h"
#include "platform/node/folder_view.h"
#include "platform/node/job_spec.h"
#include "platform/storage/s3_client.h"

namespace athanor::node {

class Artifacts {
 public:
  struct Options {
    std::string ml;                            // /opt/ml on the host
    std::string scratch;                       // a folder for what other instances staged; made when absent
    std::function<bool()> cancelled;           // asked often, from any thread
    std::function<void(std::string)> on_note;  // a sentence for the job's log, from the calling thread
  };

  // `client`, `job` and `files` outlive it.
  Artifacts(storage::S3Client& client, const JobSpec& job, Files& files, Options options)
      : client_(client), job_(job), files_(files), options_(std::move(options)) {}

  // Returns where the archives are staged ("s3://…/"), or "" when there is nothing to merge. Both calls block and throw
  // athanor::Error: kDenied with a FailureReason ("ClientError: …") for what cannot be read, kUnavailable when
  // cancelled or when the store did not answer (to be repeated as a whole), else what went wrong.
  std::string stage(std::uint32_t instance_index);
  // model.tar.gz always, so that ModelArtifacts names something; output.tar.gz when some instance left output.
  void publish(const std::vector<std::string>& staged);

 private:
  class Archive;
  std::string base() const;  // s3://BUCKET/PREFIX/JOB/output
  void check() const;
  std::optional<FolderView> look(const std::string& folder) const;
  std::vector<FolderEntry> walk(const FolderView& view) const;
  bool is_empty(const std::string& folder) const;
  void add_folder(Archive& archive, const FolderView& view);
  void add_staged(Archive& archive, const std::string& uri);
  void upload_archive(const std::string& uri, bool compress, const std::string& folder,
                      const std::vector<std::string>& merge);
  void upload_files(const std::string& uri, const std::string& folder);

  storage::S3Client& client_;
  const JobSpec& job_;
  Files& files_;
  Options options_;
};

}  // namespace athanor::node
