// A link that carries whole messages between two parties, in order, each at most once. What the bytes mean is the
// users' business; how they travel (WebSocket, a pair of queues in a test, a simulated network that loses them) is the
// implementation's.
#pragma once

#include <functional>
#include <string>

namespace athanor {

class Link {
 public:
  virtual ~Link() = default;
  // Queues one message. After close() or a break it is dropped: the receiver's on_closed has told or will tell.
  virtual void send(std::string message) = 0;
  virtual void close() = 0;

  // Set by the user before the first message can arrive; called on the link's own thread or strand, never from send().
  std::function<void(std::string message)> on_message;
  // Once, when the link is gone, with the reason as a person would read it.
  std::function<void(std::string reason)> on_closed;
};

}  // namespace athanor
