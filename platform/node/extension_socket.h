// Our extension's Unix socket in the sandbox (/opt/ml/athanor/agent.sock): any number of programs connect and send JSON
// lines; there is no answer. What is no message is reported once per connection and ends it.
#pragma once

#include <boost/asio/io_context.hpp>
#include <functional>
#include <memory>
#include <string>

#include "platform/node/extension_message.h"

namespace athanor::node {

class ExtensionSocket {
 public:
  static constexpr int kConnectionsMax = 64;

  // Makes the socket at `path` on the host. Calls back on the context's thread until destroyed.
  ExtensionSocket(boost::asio::io_context& context, const std::string& path,
                  std::function<void(ExtensionMessage)> on_message, std::function<void(std::string)> on_nonsense);
  ~ExtensionSocket();

 private:
  struct Core;
  std::shared_ptr<Core> core_;
};

}  // namespace athanor::node
