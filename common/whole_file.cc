#include "common/whole_file.h"

#include <utility>

#include "common/error.h"

namespace athanor {

WholeFile::WholeFile(Files& files, std::string path)
    : files_(&files), path_(std::move(path)), file_(files.open(temporary_path(path_), Files::Open::kTruncate)) {}

WholeFile::WholeFile(std::unique_ptr<File> file) : file_(std::move(file)) {}

WholeFile::~WholeFile() {
  if (finished_ || !files_) return;
  try {
    file_.reset();
    files_->remove(temporary_path(path_));
  } catch (const Error&) {
    // What made the writer end early is already on its way to the user.
  }
}

void WholeFile::finish() {
  ATHANOR_ASSERT(!finished_);
  if (files_) {
    file_->sync();
    file_.reset();
    files_->rename(temporary_path(path_), path_);
  }
  file_.reset();
  finished_ = true;
  if (files_) files_->sync_folder_of(path_);
}

}  // namespace athanor
