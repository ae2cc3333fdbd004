// The agent's link to the server: a WebSocket at /agent, dialled again for as long as it takes (after 50 ms, doubling to
// 2 s, with jitter). Whole messages, in order; what was under way when a connection broke is lost, and whoever sent it
// repeats it when the link opens again. Everything happens on the context's thread; what an event throws leaves by the
// context's run(), and the link goes on when that is called again.
#pragma once

#include <boost/asio/io_context.hpp>
#include <functional>
#include <memory>
#include <string>

#include "platform/wire/http_client.h"

namespace athanor::node {

class ServerLink {
 public:
  struct Options {
    std::function<wire::Endpoint()> where;  // asked before each dialling; always http, or always https
    std::string ca;                         // PEM to trust for https
    std::int64_t pause_first_ms = 50;
    std::int64_t pause_max_ms = 2000;
  };
  struct Events {
    std::function<void()> on_open;
    std::function<void(std::string message)> on_message;
    std::function<void(std::string reason)> on_broken;
  };

  ServerLink(boost::asio::io_context& context, Options options, Events events);
  ~ServerLink();

  void start();
  bool is_open() const;
  // Dropped when the link is not open.
  void send(std::string message);
  // For good; on_closed when all that was sent is out or a second has passed.
  void finish(std::function<void()> on_closed);

 private:
  struct Core;
  std::shared_ptr<Core> core_;
};

}  // namespace athanor::node
