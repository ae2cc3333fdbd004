// Where the server is now. On one machine a server that is started anew may listen elsewhere: it writes its address into a
// file of the data directory, and whoever is about to dial reads it there. Opened when the process starts, for as root it
// gives up the right to.
#pragma once

#include <string>

#include "common/descriptor.h"
#include "platform/wire/http_client.h"

namespace athanor::node {

class ServerPlace {
 public:
  // Always at `url`. Throws kInvalid when that is none.
  explicit ServerPlace(const std::string& url);
  // What the first line of `file` says; `url` where that is no URL. Throws when the file cannot be opened.
  ServerPlace(const std::string& url, const std::string& file);

  // Any thread.
  wire::Endpoint now() const;

 private:
  wire::Endpoint first_;
  Descriptor file_;
};

}  // namespace athanor::node
