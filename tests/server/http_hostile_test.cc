// Everything wrong that can be sent before a request makes sense.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <random>

#include "running_server.h"

namespace facet {
namespace {

using testing::HttpClient;
using testing::HttpReply;
using testing::RunningServer;
using testing::RunningServerOptions;
using namespace std::chrono_literals;

constexpr const char* kPost =
    "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";

RunningServerOptions impatient() {
  RunningServerOptions options;
  options.server.limits.header_timeout = 300ms;
  options.server.limits.body_timeout = 300ms;
  options.server.limits.idle_timeout = 600ms;
  return options;
}

class HttpHostileTest : public ::testing::Test {
 protected:
  /// Sends bytes and expects a refusal with that status, and the connection's end.
  void expect_refused(const std::string& bytes, int status) {
    HttpClient client(server_.port());
    client.send(bytes);
    const auto reply = client.read_reply();
    const std::string head = bytes.substr(0, 200);
    ASSERT_TRUE(reply) << head;
    EXPECT_EQ(reply->status, status) << head;
    EXPECT_TRUE(reply->json().at("error").contains("message"));
    EXPECT_EQ(reply->header("connection"), "close") << head;
    EXPECT_TRUE(client.closed()) << head;
  }

  void TearDown() override {
    EXPECT_EQ(testing::request(server_.port(), "GET", "/health").status, 200);
    EXPECT_TRUE(server_.wait_for_metric("facet_connections", 1)) << "only the one that asks";
  }

  RunningServer server_{impatient()};
};

TEST_F(HttpHostileTest, RequestLinesAndHeaders) {
  const std::string ok = "GET /health HTTP/1.1\r\nHost: localhost\r\n";
  expect_refused("\x16\x03\x01\x02\x05\x01\x03\x02\r\n\r\n", 400);
  expect_refused("GET\r\n\r\n", 400);
  expect_refused("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400);
  expect_refused("GET /health HTTP/9.9\r\nHost: localhost\r\n\r\n", 400);
  expect_refused(ok + "No colon\r\n\r\n", 400);
  expect_refused(ok + "Bad\x01name: x\r\n\r\n", 400);
  expect_refused(ok + "Name: \x01\r\n\r\n", 400);
  expect_refused("GET http://localhost/health HTTP/1.1\r\nHost: localhost\r\n\r\n", 400);
  expect_refused("GET /" + std::string(1 << 20, 'a') + " HTTP/1.1\r\nHost: localhost\r\n\r\n", 431);
  expect_refused(ok + "X: " + std::string(1 << 20, 'a') + "\r\n\r\n", 431);
  std::string many = ok;
  for (int i = 0; i < 10'000; ++i) many += fmt::format("X{}: y\r\n", i);
  expect_refused(many + "\r\n", 431);
  std::string hundred = ok;
  for (int i = 0; i < 100; ++i) hundred += "X: y\r\n";
  expect_refused(hundred + "\r\n", 431);
}

TEST_F(HttpHostileTest, Hosts) {
  expect_refused("GET /health HTTP/1.1\r\n\r\n", 400);
  expect_refused("GET /health HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n", 400);
  expect_refused("GET /health HTTP/1.1\r\nHost: evil.example\r\n\r\n", 403);
  expect_refused("GET / HTTP/1.1\r\nHost: localhost.evil.example:80\r\n\r\n", 403);
  expect_refused("GET /health HTTP/1.1\r\nHost: localhost\r\nOrigin: https://evil.example\r\n\r\n", 403);
  expect_refused("GET /health HTTP/1.1\r\nHost: localhost\r\nOrigin: null\r\n\r\n", 403);
  expect_refused(
      "OPTIONS /v1/completions HTTP/1.1\r\nHost: localhost\r\nOrigin: https://evil.example\r\n\r\n", 403);
}

TEST_F(HttpHostileTest, Bodies) {
  const std::string post = kPost;
  const std::string chunked = post + "Transfer-Encoding: chunked\r\n\r\n";
  expect_refused(post + "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}", 400);
  expect_refused(post + "Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n2\r\n{}\r\n0\r\n\r\n", 400);
  expect_refused(post + "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", 400);
  expect_refused(post + "Content-Length: -1\r\n\r\n{}", 400);
  expect_refused(post + "Content-Length: 99999999999999999999999\r\n\r\n{}", 400);
  expect_refused(post + "Content-Length: 2x\r\n\r\n{}", 400);
  expect_refused(chunked + "zz\r\n{}\r\n0\r\n\r\n", 400);
  expect_refused(chunked + "-2\r\n{}\r\n0\r\n\r\n", 400);
  expect_refused(chunked + "FFFFFFFFFFFFFFFFF\r\n{}\r\n0\r\n\r\n", 400);
  expect_refused(chunked + "1\r\n{}\r\n0\r\n\r\n", 400);
  expect_refused(chunked + "FFFFFFFF\r\n{}", 413);
  expect_refused(post + "Transfer-Encoding: gzip\r\n\r\n{}", 501);
  expect_refused(post + "Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}", 415);
  expect_refused(post + "Content-Length: 4194305\r\n\r\n", 413);
  expect_refused(post + "Content-Length: 18446744073709551615\r\n\r\n", 413);
  expect_refused("POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}", 415);
  expect_refused(
      "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\nContent-Length: "
      "2\r\n\r\n{}",
      415);
}

TEST_F(HttpHostileTest, ABodyInChunksIsBoundedToo) {
  HttpClient client(server_.port());
  client.send(std::string(kPost) + "Transfer-Encoding: chunked\r\n\r\n");
  const std::string chunk = "10000\r\n" + std::string(0x10000, ' ') + "\r\n";
  for (int i = 0; i < 80 && client.send(chunk); ++i) {
  }
  const auto reply = client.read_reply();
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->status, 413);
}

TEST_F(HttpHostileTest, BodiesThatNeverEnd) {
  const std::string post = kPost;
  for (const std::string& head :
       {post + "Content-Length: 100\r\n\r\n{}", post + "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n"}) {
    HttpClient silent(server_.port(), 5s);
    silent.send(head);
    EXPECT_FALSE(silent.read_reply()) << "closed after the body's time";
    HttpClient half(server_.port(), 5s);
    half.send(head);
    half.finish_sending();
    const auto reply = half.read_reply();
    ASSERT_TRUE(reply);
    EXPECT_EQ(reply->status, 400);
  }
}

TEST_F(HttpHostileTest, SlowHeadersAndIdleConnectionsAreClosed) {
  HttpClient idle(server_.port(), 5s);
  HttpClient slow(server_.port(), 5s);
  const auto start = std::chrono::steady_clock::now();
  slow.send("GET /health HTTP/1.1\r\nHost: localhost\r\n");
  bool sent = true;
  for (int i = 0; i < 40 && sent; ++i) {
    sent = slow.send("X: y\r\n");
    std::this_thread::sleep_for(50ms);
  }
  EXPECT_FALSE(sent) << "each header alone came in time, all of them did not";
  EXPECT_TRUE(slow.closed());
  EXPECT_TRUE(idle.closed());
  EXPECT_LT(std::chrono::steady_clock::now() - start, 4s);
}

TEST_F(HttpHostileTest, PipelinedRequestsAreAnsweredInOrder) {
  HttpClient client(server_.port());
  const std::string body = R"({"content":"a"})";
  const std::string post =
      "POST /tokenize HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: " +
      std::to_string(body.size()) + "\r\n\r\n" + body;
  std::string all;
  for (int i = 0; i < 20; ++i) all += "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n" + post;
  client.send(all);
  for (int i = 0; i < 20; ++i) {
    const auto health = client.read_reply();
    ASSERT_TRUE(health) << i;
    EXPECT_EQ(health->json().at("status"), "ok");
    const auto tokens = client.read_reply();
    ASSERT_TRUE(tokens) << i;
    EXPECT_TRUE(tokens->json().contains("tokens"));
  }
}

TEST_F(HttpHostileTest, AShortContentLengthLeavesARequestThatIsNone) {
  HttpClient client(server_.port());
  client.send(std::string(kPost) + "Content-Length: 5\r\n\r\n{\"prompt\": \"a\"}");
  const auto first = client.read_reply();
  ASSERT_TRUE(first);
  EXPECT_EQ(first->status, 400);
  const auto second = client.read_reply();
  ASSERT_TRUE(second);
  EXPECT_EQ(second->status, 400);
  EXPECT_TRUE(client.closed());
}

TEST_F(HttpHostileTest, RandomBytesNeverHurt) {
  std::mt19937 random(5);
  for (int i = 0; i < 200; ++i) {
    std::string bytes = random() % 2 == 0 ? std::string(kPost) : std::string();
    for (size_t n = random() % 300; n > 0; --n) bytes += static_cast<char>(random());
    HttpClient client(server_.port());
    client.send(bytes);
    client.finish_sending();
    EXPECT_TRUE(client.closed());
  }
}

TEST_F(HttpHostileTest, AThousandConnectsAndDrops) {
  std::mt19937 random(3);
  const nlohmann::json endless = {
      {"prompt", "abc"}, {"max_tokens", 400}, {"ignore_eos", true}, {"stream", true}};
  for (int i = 0; i < 1000; ++i) {
    HttpClient client(server_.port());
    switch (random() % 5) {
      case 0: break;
      case 1: client.send("GET /he"); break;
      case 2: client.send_request("GET", "/health"); break;
      case 3: client.send_request("POST", "/v1/completions", endless.dump()); break;
      default:
        client.send_request("POST", "/v1/completions", endless.dump());
        if (i % 20 == 0) client.read_until("data:");
    }
  }
  EXPECT_TRUE(server_.wait_for_metric("facet_requests_running", 0));
  EXPECT_TRUE(server_.wait_for_metric("facet_requests_waiting", 0));
  EXPECT_EQ(server_.metric("facet_kv_pages_used"), server_.metric("facet_prefix_blocks"));
}

TEST(HttpAccess, KeysPreflightsAndTheirHeaders) {
  RunningServerOptions options;
  options.server.access.api_key = "k-123";
  options.server.access.allowed_origins = {"https://app.example"};
  const RunningServer server(options);
  const auto status = [&](const HttpClient::Headers& headers) {
    return testing::request(server.port(), "GET", "/v1/models", {}, headers).status;
  };
  EXPECT_EQ(status({}), 401);
  EXPECT_EQ(status({{"Authorization", "Bearer k-124"}}), 401);
  EXPECT_EQ(status({{"Authorization", "Bearer k-123"}}), 200);
  EXPECT_EQ(testing::request(server.port(), "GET", "/metrics").status, 401);
  EXPECT_EQ(testing::request(server.port(), "GET", "/").status, 200) << "the page asks for the key itself";

  const HttpReply preflight = testing::request(server.port(), "OPTIONS", "/v1/chat/completions", {},
                                               {{"Origin", "https://app.example"}});
  EXPECT_EQ(preflight.status, 204);
  EXPECT_EQ(preflight.header("access-control-allow-origin"), "https://app.example");
  EXPECT_NE(preflight.header("access-control-allow-headers").find("Authorization"), std::string::npos);
  const HttpReply own =
      testing::request(server.port(), "GET", "/health", {}, {{"Origin", "http://localhost"}});
  EXPECT_EQ(own.status, 200);
  EXPECT_EQ(own.header("access-control-allow-origin"), "");
}

TEST(HttpAccess, AnAddressBeyondThisMachineNeedsAKey) {
  server::EventLog log(nullptr);
  server::ServerOptions options;
  options.host = "0.0.0.0";
  options.port = 0;
  EXPECT_THROW(server::Server(options, log), Error);
  options.access.api_key = "k";
  EXPECT_NO_THROW(server::Server(options, log));
  options.access.api_key.clear();
  options.insecure = true;
  EXPECT_NO_THROW(server::Server(options, log));
}

TEST(HttpConnection, KeepsAliveAndCloses) {
  const RunningServer server;
  HttpClient client(server.port());
  for (int i = 0; i < 3; ++i) {
    client.send_request("GET", "/health");
    ASSERT_TRUE(client.read_reply());
  }
  client.send_request("HEAD", "/health");
  ASSERT_TRUE(client.read_until("\r\n\r\n"));
  HttpClient old(server.port());
  old.send("GET /health HTTP/1.0\r\nHost: localhost\r\n\r\n");
  EXPECT_TRUE(old.read_reply());
  EXPECT_TRUE(old.closed());
  HttpClient expecting(server.port());
  expecting.send(std::string(kPost) + "Content-Length: 2\r\nExpect: 100-continue\r\n\r\n");
  ASSERT_TRUE(expecting.read_until("100 Continue\r\n\r\n"));
  EXPECT_EQ(testing::request(server.port(), "GET", "/nowhere").status, 404);
  EXPECT_EQ(testing::request(server.port(), "POST", "/health", "{}").status, 405);
}

TEST(HttpConnection, MoreThanTheLimitWait) {
  RunningServerOptions options;
  options.server.limits.connections = 3;
  const RunningServer server(options);
  ASSERT_TRUE(server.wait_for_metric("facet_connections", 1));
  auto first = std::make_unique<HttpClient>(server.port());
  HttpClient second(server.port());
  HttpClient third(server.port());
  HttpClient fourth(server.port());
  fourth.send_request("GET", "/health");
  std::this_thread::sleep_for(100ms);
  first.reset();
  EXPECT_TRUE(fourth.read_reply());
}

}  // namespace
}  // namespace facet
