// Accepting connections on an io_context, for as long as their acceptor is open.
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <boost/system/error_code.hpp>
#include <chrono>
#include <memory>
#include <utility>

namespace athanor::node {

// Gives each connection to `take`, until the acceptor is closed (and `retry` cancelled). Where none can be had (no
// descriptor is free, say) it tries again after 100 ms. `owner` is what acceptor and timer belong to; it is held meanwhile.
template <typename Acceptor, typename Owner, typename Take>
void accept_all(std::shared_ptr<Owner> owner, Acceptor& acceptor, boost::asio::steady_timer& retry, Take take) {
  acceptor.async_accept([owner, &acceptor, &retry, take](const boost::system::error_code& failure,
                                                         typename Acceptor::protocol_type::socket socket) {
    if (!acceptor.is_open()) return;
    if (!failure) {
      take(std::move(socket));
      return accept_all(owner, acceptor, retry, take);
    }
    retry.expires_after(std::chrono::milliseconds(100));
    retry.async_wait([owner, &acceptor, &retry, take](const boost::system::error_code& cancelled) {
      if (!cancelled) accept_all(owner, acceptor, retry, take);
    });
  });
}

}  // namespace athanor::node
