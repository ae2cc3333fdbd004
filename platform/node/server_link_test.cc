#include "platform/node/server_link.h"

#include <gtest/gtest.h>

#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/websocket.hpp>
#include <chrono>
#include <future>
#include <stdexcept>
#include <thread>
#include <vector>

#include "common/error.h"

namespace athanor::node {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
using asio::ip::tcp;
using namespace std::chrono_literals;

TEST(ServerLinkTest, WhatAnEventThrowsLeavesByTheContextAndTheLinkGoesOn) {
  asio::io_context theirs;
  tcp::acceptor acceptor(theirs, {asio::ip::address_v4::loopback(), 0});
  std::promise<void> over;
  std::thread server([&] {
    beast::websocket::stream<tcp::socket> stream(acceptor.accept());
    stream.accept();
    stream.binary(true);
    stream.write(asio::buffer("first", 5));
    stream.write(asio::buffer("second", 6));
    over.get_future().wait();
  });

  asio::io_context context{1};
  std::vector<std::string> heard;
  int opened = 0, broken = 0;
  const auto place = wire::Endpoint::parse("http://127.0.0.1:" + std::to_string(acceptor.local_endpoint().port()));
  ServerLink link(context, {.where = [place] { return place; }, .ca = {}},
                  {.on_open =
                       [&] {
                         ++opened;
                         throw Error(ErrorKind::kCorrupt, "reading the spool: it is damaged");
                       },
                   .on_message =
                       [&](std::string message) {
                         heard.push_back(message);
                         if (message == "first") throw std::runtime_error("no such job");
                       },
                   .on_broken = [&](std::string) { ++broken; }});
  link.start();
  std::vector<std::string> thrown;
  const auto until = std::chrono::steady_clock::now() + 20s;
  while ((heard.size() < 2 || thrown.size() < 2) && std::chrono::steady_clock::now() < until) {
    try {
      context.run_for(50ms);
    } catch (const std::exception& error) {
      thrown.emplace_back(error.what());
    }
  }
  EXPECT_EQ(thrown, (std::vector<std::string>{"reading the spool: it is damaged", "no such job"}));
  EXPECT_EQ(heard, (std::vector<std::string>{"first", "second"}));
  EXPECT_EQ(opened, 1);
  EXPECT_EQ(broken, 0);
  over.set_value();
  server.join();
}

}  // namespace
}  // namespace athanor::node
