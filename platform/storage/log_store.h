// Logs on disk: a folder for each stream, FOLDER/NUMBER/, with three files or four.
//
//   name    JSON: group, stream, first sender, time of creation
//   sender  JSON: the latest sender and where its positions begin; only when it is not the first
//   events  records: length, CRC-32C, times, the sender's position after it, message
//   index   an entry of 16 bytes for every 64 events: where the block begins, and the latest time before it
//
// The index is a shortcut: what of it does not fit `events` is computed again when the store opens. There a torn batch
// at the end of `events` is cut off too. Appends to a stream that come while the device is busy share one wait for it
// (group commit). Readers see what is durable, and hold no lock while they read files.
#pragma once

#include <memory>
#include <string>

#include "common/clock.h"
#include "common/files.h"
#include "platform/storage/logs.h"

namespace athanor::storage {

// Opens or creates `folder`. Both others outlive the store.
std::unique_ptr<Logs> open_log_store(const std::string& folder, Files& files, const Clock& clock);

}  // namespace athanor::storage
