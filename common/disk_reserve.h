// Room kept on the device so that removing things is possible when the device is full: a removal is a change to a database,
// and that needs a little room before it gives any.
#pragma once

#include <string>

#include "common/files.h"

namespace athanor {

// One thread.
class DiskReserve {
 public:
  // A file at `path`, made when there is room.
  DiskReserve(std::string path, Files& files);

  // Whether the room is set aside; tries to when it is not.
  bool hold();
  // Gives the room away, for a removal.
  void release();

 private:
  const std::string path_;
  Files& files_;
  bool held_ = false;
};

}  // namespace athanor
