// Logs on disk: FOLDER/HEX-OF-GROUP/HEX-OF-STREAM/, each stream one file of events and one of its index.
//
// `events` is a row of records: length, CRC-32C, times, the sender's position after it, message. `index` has an entry of fixed
// size per 64 events: where the next begins, and the latest time so far. The index is a shortcut and rebuilt from events when it does
// not fit; a torn record at the end of events is cut off when the store opens. Appends of all streams that come while
// the device is busy share one wait for it (group commit).
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
