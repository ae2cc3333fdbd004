#include "platform/server/http_server.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core/buffers_to_string.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/websocket.hpp>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <filesystem>
#include <mutex>
#include <thread>

#include "common/error.h"
#include "common/files.h"
#include "common/temporary_folder.h"
#include "platform/wire/http_client.h"

namespace athanor::server {
namespace {

using testing::HasSubstr;
using testing::StartsWith;
using namespace std::chrono_literals;

// A client that says exactly what a test wants said.
class RawClient {
 public:
  explicit RawClient(std::uint16_t port) : socket_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::connect(socket_, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  }
  ~RawClient() { ::close(socket_); }
  void say(std::string_view text) {
    while (!text.empty()) {
      const ssize_t sent = ::send(socket_, text.data(), text.size(), MSG_NOSIGNAL);
      if (sent <= 0) return;
      text.remove_prefix(static_cast<std::size_t>(sent));
    }
  }
  void say_no_more() { ::shutdown(socket_, SHUT_WR); }
  // Until the peer closes, `until` is seen, or nothing comes for a while.
  std::string hear(std::string_view until = "\x01") {
    std::string heard;
    char buffer[4096];
    while (heard.find(until) == std::string::npos) {
      pollfd poll{socket_, POLLIN, 0};
      if (::poll(&poll, 1, 5000) <= 0) return heard + "<nothing>";
      const ssize_t count = ::recv(socket_, buffer, sizeof buffer, 0);
      if (count <= 0) return heard + "<closed>";
      heard.append(buffer, static_cast<std::size_t>(count));
    }
    return heard;
  }

 private:
  int socket_;
};

wire::Awaitable<wire::Response> echo(wire::Request request) {
  wire::Response response;
  if (request.path == "/ignore") co_return response;
  if (request.path == "/throw") throw std::runtime_error("as asked");
  std::string body = co_await wire::read_all(*request.body, 64 << 20);
  response.headers.add("X-Line", "a\r\nX-Evil: b");
  response.body = request.method + " " + request.target + " " + body;
  co_return response;
}

class HttpServerTest : public testing::Test {
 protected:
  void serve(HttpOptions options, HttpServer::Handler handler = echo, TlsIdentity* tls = nullptr) {
    options.port = 0;
    server_ = std::make_unique<HttpServer>(options, std::move(handler), tls);
    port_ = server_->start();
  }
  std::string exchange(std::string_view text) {
    RawClient client(port_);
    client.say(text);
    client.say_no_more();
    return client.hear();
  }
  std::string url() const { return "http://127.0.0.1:" + std::to_string(port_); }

  std::unique_ptr<HttpServer> server_;
  std::uint16_t port_ = 0;
};

TEST_F(HttpServerTest, AnswersRequestsThatShareAConnection) {
  serve({});
  RawClient client(port_);
  // Pipelined, with a counted and a chunked body.
  client.say(
      "POST /a?x=1 HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\none"
      "PUT /b HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\ntwo\r\n2;e=1\r\n!!\r\n0\r\n\r\n"
      "GET /c HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
  const std::string heard = client.hear();
  EXPECT_THAT(heard, HasSubstr("POST /a?x=1 one"));
  EXPECT_THAT(heard, HasSubstr("PUT /b two!!"));
  EXPECT_THAT(heard, HasSubstr("GET /c <closed>"));
  EXPECT_THAT(heard, HasSubstr("Connection: close"));
  EXPECT_THAT(heard, HasSubstr("x-amzn-RequestId: "));
  EXPECT_THAT(heard, HasSubstr("X-Line: a  X-Evil: b\r\n"));
}

TEST_F(HttpServerTest, AnswersWhatIsNoRequest) {
  HttpOptions options;
  serve(options);
  struct Case {
    std::string request;
    const char* answer;
  };
  std::string many = "GET / HTTP/1.1\r\nHost: h\r\n";
  for (int i = 0; i < 101; ++i) many += "X-" + std::to_string(i) + ": 1\r\n";
  const Case cases[] = {
      {"nonsense\r\n\r\n", "HTTP/1.1 400"},
      {"GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 400"},
      {"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "HTTP/1.1 400"},
      {"GET / HTTP/2.0\r\nHost: a\r\n\r\n", "HTTP/1.1 505"},
      {"GET nowhere HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 400"},
      {"GET /%zz HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 400"},
      {"GET /?%f HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 400"},
      {"GET / HTTP/1.1\r\nHost: h\r\nBroken\r\n\r\n", "HTTP/1.1 400"},
      {"GET / HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\n", "HTTP/1.1 400"},
      {"GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "HTTP/1.1 400"},
      {"GET / HTTP/1.1\r\nHos", "HTTP/1.1 400"},
      {"GET / HTTP/1.1\r\nHost: h\r\nX: " + std::string(70'000, 'x') + "\r\n\r\n", "HTTP/1.1 431"},
      {"GET /" + std::string(200'000, 'x') + " HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 431"},
      {many + "\r\n", "HTTP/1.1 431"},
      {"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nshort", "HTTP/1.1 400"},
      {"PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", "HTTP/1.1 400"},
      {"PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "HTTP/1.1 400"},
      {"GET /throw HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 500"},
      {"GET http://other/abs HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", "HTTP/1.1 200"},
      {"GET / HTTP/1.0\r\n\r\n", "HTTP/1.1 200"},
  };
  for (const Case& one : cases) {
    const std::string heard = exchange(one.request);
    EXPECT_THAT(heard, StartsWith(one.answer)) << one.request.substr(0, 100);
    EXPECT_THAT(heard, HasSubstr("<closed>")) << one.request.substr(0, 100);
  }
}

TEST_F(HttpServerTest, AsksForABodyOnlyWhenItIsWanted) {
  serve({});
  const std::string head = "PUT /wanted HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n";
  RawClient wanted(port_);
  wanted.say(head);
  EXPECT_THAT(wanted.hear("\r\n\r\n"), StartsWith("HTTP/1.1 100 Continue\r\n\r\n"));
  wanted.say("body");
  EXPECT_THAT(wanted.hear("body"), HasSubstr("PUT /wanted body"));

  RawClient unwanted(port_);
  unwanted.say("PUT /ignore HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n");
  const std::string heard = unwanted.hear();
  EXPECT_THAT(heard, StartsWith("HTTP/1.1 200"));
  EXPECT_THAT(heard, HasSubstr("Connection: close"));

  // An empty body is asked for too, as clients count on it.
  RawClient empty(port_);
  empty.say("PUT /ignore HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 0\r\n\r\n");
  EXPECT_THAT(empty.hear("HTTP/1.1 200"), StartsWith("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200"));
}

TEST_F(HttpServerTest, KeepsOrClosesAConnectionWhoseBodyWasNotRead) {
  serve({});
  RawClient little(port_);
  little.say("PUT /ignore HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nGET /GET /next HTTP/1.1\r\nHost: h\r\n\r\n");
  EXPECT_THAT(little.hear("GET /next"), HasSubstr("GET /next"));

  // A large upload nobody wants: the answer arrives although the client sends all of it first.
  RawClient large(port_);
  large.say("PUT /ignore HTTP/1.1\r\nHost: h\r\nContent-Length: 8000000\r\n\r\n");
  large.say(std::string(8'000'000, 'x'));
  EXPECT_THAT(large.hear("\r\n\r\n"), StartsWith("HTTP/1.1 200"));
}

TEST_F(HttpServerTest, EndsConnectionsThatDawdle) {
  HttpOptions options;
  options.head_timeout_ms = 300;
  options.body_timeout_ms = 300;
  options.idle_timeout_ms = 300;
  serve(options);
  RawClient silent(port_), slow_head(port_), slow_body(port_), idle(port_);
  slow_head.say("GET / HTTP/1.1\r\nHost");
  slow_body.say("PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nab");
  idle.say("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
  EXPECT_EQ(silent.hear(), "<closed>");
  EXPECT_THAT(slow_head.hear(), StartsWith("HTTP/1.1 408"));
  EXPECT_THAT(slow_body.hear(), StartsWith("HTTP/1.1 400"));
  EXPECT_THAT(idle.hear(), testing::EndsWith("GET / <closed>"));
  for (int i = 0; i < 500 && server_->connections() > 0; ++i) std::this_thread::sleep_for(20ms);
  EXPECT_EQ(server_->connections(), 0u);
}

TEST_F(HttpServerTest, TurnsAwayMoreConnectionsThanItTakes) {
  HttpOptions options;
  options.connections_max = 2;
  serve(options);
  RawClient first(port_), second(port_);
  first.say("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
  second.say("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
  first.hear("GET /");
  second.hear("GET /");
  EXPECT_THAT(RawClient(port_).hear(), StartsWith("HTTP/1.1 503"));
}

TEST_F(HttpServerTest, SendsPartsOfFiles) {
  const TemporaryFolder folder;
  const std::string path = folder.path() + "/file";
  std::string contents;
  for (int i = 0; i < 3'000'000; ++i) contents += static_cast<char>('a' + i % 23);
  SystemFiles().replace(path, contents, 0644);
  SystemFiles files;
  SystemClock clock;
  TlsIdentity identity(files, clock, folder.path() + "/tls", "us-east-1", {});
  serve(
      {},
      [path](wire::Request request) -> wire::Awaitable<wire::Response> {
        const std::shared_ptr<const int> descriptor(new int(::open(path.c_str(), O_RDONLY | O_CLOEXEC)),
                                                    [](const int* fd) {
                                                      ::close(*fd);
                                                      delete fd;
                                                    });
        wire::Response response;
        response.files = {{descriptor, 10, 2'900'000}, {descriptor, 0, 5}};
        response.head_only = request.method == "HEAD";
        co_return response;
      },
      &identity);
  const std::string expected = contents.substr(10, 2'900'000) + contents.substr(0, 5);
  wire::HttpClient::Options trusting;
  trusting.ca_file = identity.ca_path();
  wire::HttpClient plain(url());
  wire::HttpClient secure("https://localhost:" + std::to_string(port_), trusting);
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(plain.send({}).body == expected);
    EXPECT_TRUE(secure.send({}).body == expected);
    wire::ClientRequest head;
    head.method = "HEAD";
    EXPECT_EQ(plain.send(head).headers.get_or("Content-Length", ""), "2900005");
  }
}

TEST_F(HttpServerTest, LetsRequestsEndWhenStopped) {
  std::atomic<bool> begun = false;
  serve({}, [&begun](wire::Request request) -> wire::Awaitable<wire::Response> {
    begun = true;
    wire::Response response;
    response.body = co_await wire::read_all(*request.body, 100);
    co_return response;
  });
  RawClient working(port_), idle(port_);
  working.say("PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\n");
  while (!begun) std::this_thread::sleep_for(1ms);
  std::thread finishing([&] {
    std::this_thread::sleep_for(100ms);
    working.say("done");
  });
  server_->stop(5000);
  finishing.join();
  EXPECT_THAT(working.hear(), HasSubstr("done"));
  EXPECT_EQ(idle.hear(), "<closed>");
}

TEST_F(HttpServerTest, SaysThatThePortIsTaken) {
  serve({});
  HttpOptions options;
  options.port = port_;
  HttpServer second(options, echo, nullptr);
  try {
    second.start();
    FAIL() << "took a port that is taken";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kConflict);
    EXPECT_THAT(error.what(), HasSubstr(std::to_string(port_)));
  }
}

std::size_t open_descriptors() {
  std::size_t count = 0;
  DIR* folder = ::opendir("/proc/self/fd");
  while (::readdir(folder) != nullptr) ++count;
  ::closedir(folder);
  return count;
}

TEST_F(HttpServerTest, LeaksNoDescriptors) {
  serve({});
  exchange("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
  const std::size_t before = open_descriptors();
  for (int i = 0; i < 100; ++i) {
    exchange(i % 2 == 0 ? "junk\r\n\r\n" : "PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n");
  }
  for (int i = 0; i < 100 && server_->connections() > 0; ++i) std::this_thread::sleep_for(20ms);
  EXPECT_EQ(open_descriptors(), before);
}

// links

class LinkTest : public HttpServerTest {
 protected:
  void serve_links(HttpOptions options) {
    options.port = 0;
    server_ = std::make_unique<HttpServer>(options, echo, nullptr);
    server_->on_link("/agent", [this](std::shared_ptr<Link> link, wire::Request head) {
      EXPECT_EQ(head.path, "/agent");
      link->on_message = [link = link.get()](std::string message) { link->send("echo " + message); };
      link->on_closed = [this](std::string reason) {
        const std::lock_guard lock(mutex_);
        closed_ = reason;
        changed_.notify_all();
      };
      const std::lock_guard lock(mutex_);
      link_ = link;
      changed_.notify_all();
    });
    port_ = server_->start();
  }
  using Client = boost::beast::websocket::stream<boost::asio::ip::tcp::socket>;
  std::unique_ptr<Client> dial() {
    auto client = std::make_unique<Client>(context_);
    client->next_layer().connect({boost::asio::ip::address_v4::loopback(), port_});
    client->handshake("localhost", "/agent");
    client->binary(true);
    return client;
  }
  static std::string receive(Client& client) {
    boost::beast::flat_buffer buffer;
    client.read(buffer);
    return boost::beast::buffers_to_string(buffer.data());
  }
  std::string wait_closed() {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, 5s, [this] { return !closed_.empty(); });
    return closed_;
  }
  std::shared_ptr<Link> wait_link() {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, 5s, [this] { return link_ != nullptr; });
    return link_;
  }

  boost::asio::io_context context_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::string closed_;
  std::shared_ptr<Link> link_;
};

TEST_F(LinkTest, CarriesMessagesBothWaysInOrder) {
  serve_links({});
  const auto client = dial();
  for (int i = 0; i < 1000; ++i) client->write(boost::asio::buffer(std::to_string(i)));
  for (int i = 0; i < 1000; ++i) EXPECT_EQ(receive(*client), "echo " + std::to_string(i));
  const std::string large(5 << 20, 'x');
  client->write(boost::asio::buffer(large));
  EXPECT_TRUE(receive(*client) == "echo " + large);
  std::thread([this] { wait_link()->send("from another thread"); }).join();
  EXPECT_EQ(receive(*client), "from another thread");
  client->close(boost::beast::websocket::close_code::normal);
  EXPECT_EQ(wait_closed(), "the peer closed it");
  link_->send("nobody hears this");
}

TEST_F(LinkTest, EndsWhenThePeerVanishesOrSendsTooMuch) {
  HttpOptions options;
  options.link_message_bytes_max = 1000;
  serve_links(options);
  auto client = dial();
  client->write(boost::asio::buffer(std::string(1001, 'x')));
  EXPECT_THROW(receive(*client), boost::system::system_error);
  client->next_layer().close();
  EXPECT_THAT(wait_closed(), HasSubstr("exceeded"));
  closed_.clear();
  auto another = dial();
  another->next_layer().close();
  EXPECT_NE(wait_closed(), "");
}

TEST_F(LinkTest, IsClosedByUsAndWithTheServer) {
  serve_links({});
  auto client = dial();
  wait_link()->close();
  EXPECT_THROW(receive(*client), boost::system::system_error);
  EXPECT_EQ(wait_closed(), "closed by us");
  closed_.clear();
  link_.reset();
  auto another = dial();
  wait_link();
  server_->stop(0);
  EXPECT_NE(wait_closed(), "");
}

TEST_F(LinkTest, LosesAPeerThatDoesNotRead) {
  HttpOptions options;
  options.link_queue_bytes_max = 8 << 20;
  serve_links(options);
  const auto client = dial();
  for (int i = 0; i < 32; ++i) wait_link()->send(std::string(1 << 20, 'x'));
  EXPECT_THAT(wait_closed(), HasSubstr("too slowly"));
}

TEST_F(LinkTest, NoticesASilentPeer) {
  HttpOptions options;
  options.link_ping_ms = 200;
  serve_links(options);
  const auto client = dial();  // which never reads, and so never answers a ping
  EXPECT_NE(wait_closed(), "");
}

TEST_F(LinkTest, RefusesOtherPathsAndOtherProtocols) {
  serve_links({});
  EXPECT_THAT(exchange("GET /agent HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"), StartsWith("HTTP/1.1 200"));
  EXPECT_THAT(exchange("GET /other HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\n"
                       "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"),
              StartsWith("HTTP/1.1 200"));
  EXPECT_THAT(exchange("GET /agent HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                       "Sec-WebSocket-Version: 1\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"),
              StartsWith("HTTP/1.1 4"));
}

// TLS

TEST(TlsIdentity, IsMadeOnceAndKept) {
  const TemporaryFolder folder;
  SystemFiles files;
  SystemClock now;
  const std::string path = folder.path() + "/tls";
  std::string authority, server;
  {
    TlsIdentity made(files, now, path, "us-east-1", {});
    authority = files.read_all(made.ca_path());
    server = files.read_all(path + "/server.pem");
    EXPECT_EQ(made.ca_pem(), authority);
    EXPECT_EQ(files.stat(path + "/ca.key")->mode & 0777, 0600u);
    EXPECT_EQ(files.stat(path + "/server.key")->mode & 0777, 0600u);
  }
  TlsIdentity kept(files, now, path, "us-east-1", {});
  EXPECT_EQ(files.read_all(path + "/ca.pem"), authority);
  EXPECT_EQ(files.read_all(path + "/server.pem"), server);

  // Another name, a near end, and a damaged file each make a new one below the same authority.
  TlsIdentity named(files, now, path, "us-east-1", {"athanor.example", "10.1.2.3"});
  const std::string with_names = files.read_all(path + "/server.pem");
  EXPECT_NE(with_names, server);
  VirtualClock later(now.wall_ms() + 800LL * 86400 * 1000);
  TlsIdentity renewed(files, later, path, "us-east-1", {"athanor.example", "10.1.2.3"});
  EXPECT_NE(files.read_all(path + "/server.pem"), with_names);
  files.replace(path + "/server.key", "damaged", 0600);
  TlsIdentity repaired(files, now, path, "us-east-1", {});
  EXPECT_EQ(files.read_all(path + "/ca.pem"), authority);
}

TEST(TlsIdentity, IsTrustedForTheNamesThatClientsUse) {
  const TemporaryFolder folder;
  SystemFiles files;
  SystemClock clock;
  TlsIdentity identity(files, clock, folder.path() + "/tls", "eu-west-1", {"athanor.example"});
  HttpOptions options;
  options.port = 0;
  HttpServer server(options, echo, &identity);
  const std::uint16_t port = server.start();
  for (const char* name : {"localhost", "127.0.0.1", "sts.eu-west-1.amazonaws.com", "sts.amazonaws.com",
                           "bucket.s3.eu-west-1.amazonaws.com", "bucket.s3.amazonaws.com", "athanor.example",
                           "api.sagemaker.eu-west-1.amazonaws.com"}) {
    const bool address = std::string_view(name) == "127.0.0.1";
    const std::string command = fmt::format(
        "openssl s_client -connect 127.0.0.1:{} -CAfile {} -verify_return_error -x509_strict {} {} </dev/null 2>&1",
        port, identity.ca_path(), address ? "-verify_ip" : "-verify_hostname", name);
    std::string output;
    FILE* pipe = ::popen(command.c_str(), "r");
    char buffer[4096];
    while (::fgets(buffer, sizeof buffer, pipe) != nullptr) output += buffer;
    EXPECT_EQ(::pclose(pipe), 0) << name << "\n" << output;
  }
}

}  // namespace
}  // namespace athanor::server
