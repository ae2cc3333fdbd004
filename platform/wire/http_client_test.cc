#include "platform/wire/http_client.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "common/error.h"

namespace athanor::wire {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

struct Step {
  std::string until;   // read until this has come
  std::string answer;  // then write this
};
using Steps = std::vector<Step>;

// A server that answers from a script: for each connection in turn, its steps, after which it closes.
class ScriptedServer {
 public:
  explicit ScriptedServer(std::vector<Steps> script) : listener_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    EXPECT_EQ(::listen(listener_, 8), 0);
    socklen_t length = sizeof(address);
    ::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &length);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this, script = std::move(script)] { serve(script); });
  }
  ~ScriptedServer() {
    ::shutdown(listener_, SHUT_RDWR);
    thread_.join();
    ::close(listener_);
  }

  std::string url() const { return "http://127.0.0.1:" + std::to_string(port_); }
  // What was received on all connections; call when the exchange is over.
  std::string received() {
    while (!done_) std::this_thread::yield();
    return received_;
  }

 private:
  void serve(const std::vector<Steps>& script) {
    for (const Steps& steps : script) {
      const int connection = ::accept(listener_, nullptr, nullptr);
      if (connection < 0) break;
      for (const Step& step : steps) {
        std::string seen;
        char buffer[65536];
        while (seen.find(step.until) == std::string::npos) {
          const ssize_t got = ::recv(connection, buffer, sizeof(buffer), 0);
          if (got <= 0) break;
          seen.append(buffer, static_cast<std::size_t>(got));
        }
        received_ += seen;
        ::send(connection, step.answer.data(), step.answer.size(), MSG_NOSIGNAL);
      }
      ::close(connection);
    }
    done_ = true;
  }

  const int listener_;
  std::uint16_t port_ = 0;
  std::string received_;
  std::atomic<bool> done_ = false;
  std::thread thread_;
};

constexpr char kOk[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

TEST(Endpoint, TakesUrlsApart) {
  const Endpoint plain = Endpoint::parse("http://127.0.0.1:9100/");
  EXPECT_FALSE(plain.secure);
  EXPECT_EQ(plain.host, "127.0.0.1");
  EXPECT_EQ(plain.port, 9100);
  EXPECT_EQ(plain.authority(), "127.0.0.1:9100");
  const Endpoint secure = Endpoint::parse("https://s3.us-east-1.amazonaws.com");
  EXPECT_TRUE(secure.secure);
  EXPECT_EQ(secure.authority(), "s3.us-east-1.amazonaws.com");
  EXPECT_EQ(Endpoint::parse("http://[::1]:80").authority(), "[::1]");
  for (const char* bad : {"", "ftp://x", "http://", "http://a b", "http://a:0", "http://a:99999", "http://a:1/path",
                          "http://[::1", "http://[::1]x", "http://[[a]", "http://a]", "http://u@h"}) {
    EXPECT_THROW(Endpoint::parse(bad), Error) << bad;
  }
}

TEST(HttpClient, KeepsAConnectionForTheNextRequest) {
  ScriptedServer server({Steps{{"\r\n\r\n", kOk}, {"\r\n\r\nhello", kOk}}});
  HttpClient client(server.url());
  EXPECT_EQ(client.send({}).body, "ok");
  ClientRequest post;
  post.method = "POST";
  post.target = "/x?y=1";
  post.headers.add("X-A", "b");
  post.body = "hello";
  EXPECT_EQ(client.send(post).status, 200);
  EXPECT_THAT(server.received(), HasSubstr("POST /x?y=1 HTTP/1.1\r\nHost: 127.0.0.1:"));
  EXPECT_THAT(server.received(), HasSubstr("X-A: b\r\nContent-Length: 5\r\n\r\nhello"));
}

TEST(HttpClient, ReplacesAConnectionThatTheServerClosed) {
  ScriptedServer server(std::vector<Steps>{Steps{{"\r\n\r\n", kOk}}, Steps{{"\r\n\r\n", kOk}}});
  HttpClient client(server.url());
  EXPECT_EQ(client.send({}).status, 200);
  EXPECT_EQ(client.send({}).status, 200);
}

TEST(HttpClient, ReadsChunksAndHandsThemToTheSink) {
  ScriptedServer server(
      {Steps{{"\r\n\r\n",
              "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n10;x=y\r\n0123456789abcdef"
              "\r\n0\r\nTrailer: 1\r\n\r\n"}}});
  HttpClient client(server.url());
  std::string taken;
  const ClientResponse response = client.send({}, [&](std::string_view piece) { taken += piece; });
  EXPECT_EQ(taken, "abc0123456789abcdef");
  EXPECT_EQ(response.body, "");
}

TEST(HttpClient, KeepsAnErrorsBodyOutOfTheSink) {
  ScriptedServer server({Steps{{"\r\n\r\n", "HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\ngone"}}});
  HttpClient client(server.url());
  const ClientResponse response = client.send({}, [](std::string_view) { FAIL(); });
  EXPECT_EQ(response.status, 404);
  EXPECT_EQ(response.body, "gone");
}

TEST(HttpClient, StreamsABodyOfUnknownLengthInChunks) {
  ScriptedServer server({Steps{{"\r\n\r\n", "HTTP/1.1 100 Continue\r\n\r\n"}, {"0\r\n\r\n", kOk}}});
  HttpClient client(server.url());
  int pieces = 0;
  ClientRequest put;
  put.method = "PUT";
  put.body_source = [&](std::span<char> into) -> std::size_t {
    if (++pieces == 3) return 0;
    into[0] = 'x';
    return 1;
  };
  EXPECT_EQ(client.send(put).status, 200);
  EXPECT_THAT(server.received(), HasSubstr("1\r\nx\r\n1\r\nx\r\n0\r\n\r\n"));
}

TEST(HttpClient, SendsNoBodyThatTheServerRefusesBeforehand) {
  ScriptedServer server({Steps{{"\r\n\r\n", "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno"}}});
  HttpClient client(server.url());
  ClientRequest put;
  put.method = "PUT";
  put.body_length = 10 << 20;
  put.body_source = [](std::span<char>) -> std::size_t {
    ADD_FAILURE() << "the body was asked for";
    return 0;
  };
  EXPECT_EQ(client.send(put).status, 403);
}

TEST(HttpClient, SaysWhatWentWrong) {
  const auto fails_with = [](const std::string& answer, ErrorKind kind) {
    ScriptedServer server({Steps{{"\r\n\r\n", answer}}});
    HttpClient client(server.url());
    try {
      client.send({});
      ADD_FAILURE() << answer;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), kind) << error.what();
      EXPECT_THAT(error.what(), HasSubstr("127.0.0.1")) << answer;
    }
  };
  fails_with("", ErrorKind::kUnavailable);
  fails_with("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort", ErrorKind::kUnavailable);
  fails_with("SSH-2.0-OpenSSH\r\n\r\n", ErrorKind::kCorrupt);
  fails_with("HTTP/1.1 200 OK\r\nno colon\r\n\r\n", ErrorKind::kCorrupt);
  fails_with("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", ErrorKind::kCorrupt);
  fails_with("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", ErrorKind::kCorrupt);
  fails_with("HTTP/1.1 200 OK\r\nX: " + std::string(70'000, 'y') + "\r\n\r\n", ErrorKind::kCorrupt);
}

TEST(HttpClient, NobodyListening) {
  HttpClient client("http://127.0.0.1:1");
  try {
    client.send({});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kUnavailable);
    EXPECT_THAT(error.what(), StartsWith("connecting to http://127.0.0.1:1: Connection refused"));
  }
}

TEST(HttpClient, GivesUpWhenNothingMoves) {
  ScriptedServer server({Steps{{"never", ""}}});
  HttpClient::Options options;
  options.idle_timeout_ms = 50;
  HttpClient client(server.url(), options);
  EXPECT_THROW(client.send({}), Error);
}

TEST(HttpClient, RefusesHeadersWithLineBreaks) {
  ScriptedServer server(std::vector<Steps>{});
  HttpClient client(server.url());
  ClientRequest request;
  request.headers.add("X-A", "b\r\nX-Evil: 1");
  EXPECT_THROW(client.send(request), Error);
}

TEST(HttpClient, BoundsABodyKeptInMemory) {
  ScriptedServer server(
      {Steps{{"\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + std::string(100, 'x')}}});
  HttpClient::Options options;
  options.body_bytes_max = 99;
  HttpClient client(server.url(), options);
  EXPECT_THROW(client.send({}), Error);
}

}  // namespace
}  // namespace athanor::wire
