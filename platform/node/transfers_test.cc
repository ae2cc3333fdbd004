#include "platform/node/transfers.h"

#include <gtest/gtest.h>

#include <chrono>
#include <future>
#include <string>

namespace athanor::node {
namespace {

using namespace std::chrono_literals;

TEST(WorkerTest, StartingDoesNotWaitForCancelledWork) {
  std::promise<void> may_end, all_done;
  std::string order;  // written by one piece of work after the other
  {
    Worker worker([](const std::function<void()>& what) { what(); });
    worker.start(
        [&](const std::function<bool()>&) {
          may_end.get_future().wait();  // deaf to being cancelled
          order += "first ";
        },
        [&](const Error*) { order += "told "; });
    const auto began = std::chrono::steady_clock::now();
    worker.start([&](const std::function<bool()>&) { order += "second"; }, [&](const Error*) { all_done.set_value(); });
    EXPECT_LT(std::chrono::steady_clock::now() - began, 5s);
    may_end.set_value();
    EXPECT_EQ(all_done.get_future().wait_for(20s), std::future_status::ready);
  }
  EXPECT_EQ(order, "first second") << "one at a time, and of what was cancelled nothing is told";
}

}  // namespace
}  // namespace athanor::node
