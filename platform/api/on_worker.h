// Coroutines on I/O threads that wait for other threads.
#pragma once

#include <boost/asio/associated_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <exception>
#include <memory>
#include <utility>

#include "platform/wire/http.h"

namespace athanor::api {

// Awaits a call that reports through a callback on another thread: `auto calling = call_back<T>([&](auto done) { … });
// co_await std::move(calling)` (named: GCC 12 destroys a lambda inside a co_await expression twice), where
// `done(exception_ptr, T)` is copyable. Resumes on the caller's executor.
template <typename T, typename Start>
wire::Awaitable<T> call_back(Start start) {
  return boost::asio::async_initiate<const boost::asio::use_awaitable_t<>, void(std::exception_ptr, T)>(
      [](auto handler, Start begin) {
        using Handler = decltype(handler);
        auto executor = boost::asio::get_associated_executor(handler);
        auto held = std::make_shared<Handler>(std::move(handler));
        begin([executor, held](std::exception_ptr failure, T result) {
          boost::asio::post(executor, [held, failure, result = std::move(result)]() mutable {
            (*held)(failure, std::move(result));
          });
        });
      },
      boost::asio::use_awaitable, std::move(start));
}

// Runs `work` (returning T) on a worker and awaits it.
template <typename T, typename Work>
wire::Awaitable<T> on_worker(boost::asio::thread_pool& workers, Work work) {
  return call_back<T>([&workers, work = std::move(work)](auto done) mutable {
    boost::asio::post(workers, [done, work = std::move(work)]() mutable {
      std::exception_ptr failure;
      T result{};
      try {
        result = work();
      } catch (...) {
        failure = std::current_exception();
      }
      done(failure, std::move(result));
    });
  });
}

}  // namespace athanor::api
