#include "platform/node/forwarder.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <ctime>
#include <thread>
#include <vector>

namespace athanor::node {
namespace {

using namespace std::chrono_literals;

Descriptor listen_on_loopback(int flags, std::uint16_t& port) {
  Descriptor listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | flags, 0));
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof at;
  EXPECT_EQ(::bind(listener.get(), reinterpret_cast<sockaddr*>(&at), sizeof at), 0);
  EXPECT_EQ(::listen(listener.get(), 256), 0);
  EXPECT_EQ(::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&at), &size), 0);
  port = ntohs(at.sin_port);
  return listener;
}

Descriptor dial(std::uint16_t port) {
  Descriptor client(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  at.sin_port = htons(port);
  EXPECT_EQ(::connect(client.get(), reinterpret_cast<sockaddr*>(&at), sizeof at), 0);
  return client;
}

// All until the peer's end.
std::string read_all(int descriptor) {
  std::string text, piece(64 << 10, '\0');
  for (ssize_t got; (got = ::recv(descriptor, piece.data(), piece.size(), 0)) > 0;) {
    text.append(piece, 0, static_cast<std::size_t>(got));
  }
  return text;
}

void send_all(int descriptor, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t put = ::send(descriptor, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    ASSERT_GT(put, 0);
    bytes.remove_prefix(static_cast<std::size_t>(put));
  }
}

// A forwarder on a thread of its own, in front of a listener of ours.
class ForwarderTest : public testing::Test {
 protected:
  ForwarderTest() {
    server_ = listen_on_loopback(0, server_port_);
    std::vector<Descriptor> listeners;
    listeners.push_back(listen_on_loopback(SOCK_NONBLOCK, port_));
    server_place_ = std::make_unique<ServerPlace>("http://127.0.0.1:" + std::to_string(server_port_));
    forwarder_ = std::make_unique<Forwarder>(std::move(listeners), *server_place_);
    stop_ = Descriptor(::eventfd(0, EFD_CLOEXEC));
  }
  ~ForwarderTest() override {
    ::eventfd_write(stop_.get(), 1);
    if (thread_.joinable()) thread_.join();
  }
  void start() {
    thread_ = std::thread([this] { forwarder_->run(stop_.get()); });
  }
  Descriptor accept() { return Descriptor(::accept4(server_.get(), nullptr, nullptr, SOCK_CLOEXEC)); }

  Descriptor server_;
  Descriptor stop_;
  std::uint16_t server_port_ = 0;
  std::uint16_t port_ = 0;
  std::unique_ptr<ServerPlace> server_place_;
  std::unique_ptr<Forwarder> forwarder_;
  std::thread thread_;
};

TEST_F(ForwarderTest, AnAnswerIsWholeAfterTheQuestionsEnd) {
  start();
  const std::string answer(2'000'000, 'a');
  for (int i = 0; i < 20; ++i) {
    const Descriptor client = dial(port_);
    send_all(client.get(), "question");
    ::shutdown(client.get(), SHUT_WR);
    std::thread peer([&] {
      const Descriptor connection = accept();
      EXPECT_EQ(read_all(connection.get()), "question");
      send_all(connection.get(), answer);
    });
    EXPECT_EQ(read_all(client.get()).size(), answer.size());
    peer.join();
  }
}

// Of all threads of this process, in seconds.
double processor_s() {
  timespec used{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
  return static_cast<double>(used.tv_sec) + static_cast<double>(used.tv_nsec) / 1e9;
}

TEST_F(ForwarderTest, DoesNotSpinForAPeerThatReadsSlowly) {
  start();
  const std::string answer(8'000'000, 'a');
  const Descriptor client = dial(port_);
  ::shutdown(client.get(), SHUT_WR);
  std::thread peer([&] {
    const Descriptor connection = accept();
    send_all(connection.get(), answer);
  });
  std::this_thread::sleep_for(500ms);
  const double before_s = processor_s();
  std::this_thread::sleep_for(500ms);
  EXPECT_LT(processor_s() - before_s, 0.2);
  EXPECT_EQ(read_all(client.get()).size(), answer.size());
  peer.join();
}

// While it lives, this process may have `more` descriptors more than it has.
class FewDescriptors {
 public:
  explicit FewDescriptors(rlim_t more) {
    ::getrlimit(RLIMIT_NOFILE, &before_);
    const Descriptor lowest(::dup(0));
    rlimit limit = before_;
    limit.rlim_cur = static_cast<rlim_t>(lowest.get()) + more;
    EXPECT_EQ(::setrlimit(RLIMIT_NOFILE, &limit), 0);
  }
  ~FewDescriptors() { ::setrlimit(RLIMIT_NOFILE, &before_); }

 private:
  rlimit before_{};
};

TEST_F(ForwarderTest, ConnectionsWaitWhileNoDescriptorIsFree) {
  std::vector<Descriptor> clients;
  for (int i = 0; i < 10; ++i) clients.push_back(dial(port_));
  {
    const FewDescriptors few(5);
    start();
    std::this_thread::sleep_for(200ms);
    const double before_s = processor_s();
    std::this_thread::sleep_for(500ms);
    EXPECT_LT(processor_s() - before_s, 0.2);
  }
  for (const Descriptor& client : clients) {
    const Descriptor connection = accept();
    send_all(connection.get(), "served");
    ::shutdown(connection.get(), SHUT_WR);
    std::string first(6, '\0');
    EXPECT_EQ(::recv(client.get(), first.data(), first.size(), MSG_WAITALL), 6) << "each is served in its turn";
    EXPECT_EQ(first, "served");
  }
}

}  // namespace
}  // namespace athanor::node
