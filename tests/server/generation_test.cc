// Answers: their shapes, their independence from each other, and how they end.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "running_server.h"
#include "support/json_schema_check.h"

namespace facet {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;
using testing::HttpClient;
using testing::RunningServer;
using testing::RunningServerOptions;
using namespace std::chrono_literals;

json completion(const std::string& prompt, int seed, int tokens) {
  return {{"prompt", prompt}, {"seed", seed}, {"max_tokens", tokens}, {"ignore_eos", true}};
}

json chat(const std::string& text, int seed, int tokens) {
  return {{"messages", {{{"role", "user"}, {"content", text}}}}, {"seed", seed}, {"max_tokens", tokens}};
}

/// The text of a streamed completion or chat.
std::string join(const testing::HttpReply& reply) {
  std::string text;
  for (const std::string& event : reply.events()) {
    if (event == "[DONE]") continue;
    const json message = json::parse(event);
    for (const json& choice : message.at("choices"))
      text += choice.contains("text") ? choice.at("text").get<std::string>()
                                      : choice.at("delta").value("content", std::string());
  }
  return text;
}

class GenerationTest : public ::testing::Test {
 protected:
  RunningServer server_;
};

TEST_F(GenerationTest, ACompletionHasOpenAisShape) {
  json body = completion("hello", 1, 6);
  body["logprobs"] = 2;
  const json answer = server_.post("/v1/completions", body).json();
  EXPECT_EQ(answer.at("object"), "text_completion");
  EXPECT_EQ(answer.at("model"), "tiny");
  EXPECT_THAT(answer.at("id").get<std::string>(), ::testing::StartsWith("cmpl-"));
  const json& choice = answer.at("choices").at(0);
  EXPECT_EQ(choice.at("index"), 0);
  EXPECT_EQ(choice.at("finish_reason"), "length");
  const json& logprobs = choice.at("logprobs");
  for (const char* list : {"tokens", "token_logprobs", "top_logprobs", "text_offset"})
    EXPECT_EQ(logprobs.at(list).size(), 6U) << list;
  for (const json& logprob : logprobs.at("token_logprobs")) EXPECT_LE(logprob.get<double>(), 0);
  const json& usage = answer.at("usage");
  EXPECT_EQ(usage.at("completion_tokens"), 6);
  EXPECT_EQ(usage.at("total_tokens").get<int>(), usage.at("prompt_tokens").get<int>() + 6);
  EXPECT_EQ(usage.at("prompt_tokens_details").at("cached_tokens"), 0);
}

TEST_F(GenerationTest, AChatHasOpenAisShape) {
  json body = chat("hello", 1, 6);
  body["logprobs"] = true;
  body["top_logprobs"] = 3;
  const json answer = server_.post("/v1/chat/completions", body).json();
  EXPECT_EQ(answer.at("object"), "chat.completion");
  const json& choice = answer.at("choices").at(0);
  EXPECT_EQ(choice.at("message").at("role"), "assistant");
  EXPECT_TRUE(choice.at("message").at("content").is_string());
  const json& tokens = choice.at("logprobs").at("content");
  ASSERT_EQ(tokens.size(), answer.at("usage").at("completion_tokens"));
  for (const json& token : tokens) {
    EXPECT_TRUE(token.at("bytes").is_array());
    ASSERT_EQ(token.at("top_logprobs").size(), 3U);
    EXPECT_GE(token.at("top_logprobs")[0].at("logprob"), token.at("top_logprobs")[1].at("logprob"));
  }
}

TEST_F(GenerationTest, AStreamSaysTheSameAsAWholeAnswer) {
  for (const bool chatting : {false, true}) {
    json body = chatting ? chat("tell me", 5, 40) : completion("tell me", 5, 40);
    const char* path = chatting ? "/v1/chat/completions" : "/v1/completions";
    const json whole = server_.post(path, body).json();
    body["stream"] = true;
    body["stream_options"] = {{"include_usage", true}};
    const auto stream = server_.post(path, body);
    EXPECT_THAT(stream.header("content-type"), HasSubstr("text/event-stream"));
    const auto events = stream.events();
    ASSERT_GE(events.size(), 4U);
    EXPECT_EQ(events.back(), "[DONE]");
    const json usage = json::parse(events[events.size() - 2]);
    EXPECT_TRUE(usage.at("choices").empty());
    EXPECT_EQ(usage.at("usage").at("completion_tokens"), whole.at("usage").at("completion_tokens"));
    EXPECT_GT(usage.at("usage").at("prompt_tokens_details").at("cached_tokens"), 0)
        << "the prompt came before";
    const json last = json::parse(events[events.size() - 3]);
    EXPECT_EQ(last.at("choices")[0].at("finish_reason"), whole.at("choices")[0].at("finish_reason"));
    const json& choice = whole.at("choices")[0];
    EXPECT_EQ(join(stream), chatting ? choice.at("message").at("content") : choice.at("text"));
    const json first = json::parse(events[0]).at("choices")[0];
    EXPECT_EQ(first.contains("delta"), chatting);
    EXPECT_EQ(first.value("delta", json::object()).value("role", "none"), chatting ? "assistant" : "none");
  }
}

TEST_F(GenerationTest, SeveralChoicesAreEachASeedOfTheirOwn) {
  json body = completion("once", 7, 12);
  body["n"] = 3;
  body["logprobs"] = 0;
  const json answer = server_.post("/v1/completions", body).json();
  ASSERT_EQ(answer.at("choices").size(), 3U);
  EXPECT_EQ(answer.at("usage").at("completion_tokens"), 36);
  for (int i = 0; i < 3; ++i) {
    json alone = completion("once", 7 + i, 12);
    alone["logprobs"] = 0;
    const json one = server_.post("/v1/completions", alone).json();
    EXPECT_EQ(answer.at("choices")[static_cast<size_t>(i)].at("text"), one.at("choices")[0].at("text"));
    EXPECT_EQ(answer.at("choices")[static_cast<size_t>(i)].at("logprobs"),
              one.at("choices")[0].at("logprobs"));
  }
  EXPECT_NE(answer.at("choices")[0].at("text"), answer.at("choices")[1].at("text"));
}

TEST_F(GenerationTest, StopStringsCutWhereverTokensDo) {
  const std::string text =
      server_.post("/v1/completions", completion("go", 11, 40)).json().at("choices")[0].at("text");
  ASSERT_GT(text.size(), 30U);
  // From a code point's beginning to another's, across tokens.
  const auto boundary = [&](size_t at) {
    while ((static_cast<unsigned char>(text[at]) & 0xC0U) == 0x80U) ++at;
    return at;
  };
  const size_t begin = boundary(10);
  const std::string stop = text.substr(begin, boundary(22) - begin);
  json body = completion("go", 11, 40);
  body["stop"] = {"no such text", stop};
  for (const bool stream : {false, true}) {
    body["stream"] = stream;
    const auto reply = server_.post("/v1/completions", body);
    const std::string got =
        stream ? join(reply) : reply.json().at("choices")[0].at("text").get<std::string>();
    EXPECT_EQ(got, text.substr(0, text.find(stop)));
    const json last = stream ? json::parse(reply.events()[reply.events().size() - 2]) : reply.json();
    EXPECT_EQ(last.at("choices")[0].at("finish_reason"), "stop");
  }
}

TEST_F(GenerationTest, StopIdsEndAnAnswerUnlessIgnored) {
  const auto end = testing::tiny_tokenizer().id("<turn|>");
  ASSERT_TRUE(end);
  json body = chat("x", 1, 30);
  body["logit_bias"] = {{std::to_string(*end), 100}};
  const json ended = server_.post("/v1/chat/completions", body).json();
  EXPECT_EQ(ended.at("choices")[0].at("finish_reason"), "stop");
  EXPECT_EQ(ended.at("choices")[0].at("message").at("content"), "");
  EXPECT_EQ(ended.at("usage").at("completion_tokens"), 1);
  body["ignore_eos"] = true;
  EXPECT_EQ(server_.post("/v1/chat/completions", body).json().at("choices")[0].at("finish_reason"), "length");
}

/// How random weights answer when held to JSON, with a liking for what closes: numbers and strings of random
/// tokens seldom end by themselves.
std::vector<json> json_answers(const RunningServer& server, const json& format) {
  std::vector<json> answers;
  for (int seed = 0; seed < 20; ++seed) {
    json body = chat("give me JSON", seed, 400);
    body["response_format"] = format;
    body["logit_bias"] = {};
    for (const char* piece : {"}", "]", "\"", ":"})
      if (const auto id = testing::tiny_tokenizer().id(piece)) body["logit_bias"][std::to_string(*id)] = 4;
    answers.push_back(server.post("/v1/chat/completions", body).json().at("choices")[0]);
  }
  return answers;
}

// What is complete parses, what is cut off is a beginning of it.
TEST_F(GenerationTest, JsonObjects) {
  int complete = 0;
  for (const json& choice : json_answers(server_, {{"type", "json_object"}})) {
    const std::string text = choice.at("message").at("content");
    EXPECT_EQ(text.find_first_not_of(" \n\t\r"), text.find('{')) << text;
    if (choice.at("finish_reason") != "stop") continue;
    ++complete;
    EXPECT_TRUE(json::parse(text, nullptr, /*allow_exceptions=*/false).is_object()) << text;
  }
  EXPECT_GE(complete, 5);
}

TEST_F(GenerationTest, JsonSchemas) {
  // As text, since json sorts keys.
  const auto schema = nlohmann::ordered_json::parse(R"({
      "type": "object", "required": ["size", "kind", "tags"], "additionalProperties": false, "properties": {
        "size": {"type": "integer"}, "kind": {"enum": ["cat", "dog"]}, "name": {"$ref": "#/$defs/name"},
        "tags": {"type": "array", "items": {"type": ["boolean", "null"]}, "minItems": 1, "maxItems": 3}},
      "$defs": {"name": {"type": "string", "minLength": 1, "maxLength": 5}}})");
  int complete = 0;
  std::set<std::string> kinds;
  for (int seed = 0; seed < 20; ++seed) {
    nlohmann::ordered_json body = {
        {"messages", {{{"role", "user"}, {"content", "a pet"}}}}, {"seed", seed}, {"max_tokens", 200}};
    body["response_format"] = {{"type", "json_schema"},
                               {"json_schema", {{"name", "pet"}, {"schema", schema}}}};
    const auto reply = testing::request(server_.port(), "POST", "/v1/chat/completions", body.dump());
    const auto choice = nlohmann::ordered_json::parse(reply.body).at("choices")[0];
    if (choice.at("finish_reason") != "stop") continue;
    ++complete;
    const std::string text = choice.at("message").at("content");
    const auto pet = nlohmann::ordered_json::parse(text, nullptr, /*allow_exceptions=*/false);
    EXPECT_TRUE(testing::satisfies(pet, schema, schema)) << text;
    kinds.insert(pet.at("kind"));
    std::string order;
    for (const auto& [key, value] : pet.items()) order += key.front();
    EXPECT_TRUE(order == "sknt" || order == "skt") << order << ": in the schema's order";
  }
  EXPECT_GE(complete, 10);
  EXPECT_EQ(kinds.size(), 2U) << "the seed decides what the schema leaves open";
}

TEST_F(GenerationTest, TokenizeAndBack) {
  const std::string text = "h\xC3\xA9llo <|turn> \xF0\x9F\x8C\x8D";
  const json tokens =
      server_.post("/tokenize", {{"content", text}, {"add_special", false}, {"parse_special", false}}).json();
  EXPECT_EQ(tokens.at("count"), tokens.at("tokens").size());
  EXPECT_EQ(server_.post("/detokenize", {{"tokens", tokens.at("tokens")}}).json().at("content"), text);
  EXPECT_EQ(server_.post("/detokenize", {{"tokens", {5, 900}}}).status, 400);
  EXPECT_EQ(testing::request(server_.port(), "GET", "/v1/models").json().at("data")[0].at("id"), "tiny");
}

TEST_F(GenerationTest, SixtyFourStreamsAtOnceEachGetTheirOwn) {
  std::vector<std::string> expected(64);
  std::vector<std::string> got(64);
  const auto body = [](int i) {
    json b = i % 2 == 0 ? completion(fmt::format("prompt {}", i % 7), i, 10 + i % 20)
                        : chat(fmt::format("question {}", i % 5), i, 10 + i % 20);
    b["stream"] = true;
    return b;
  };
  const auto path = [](int i) { return i % 2 == 0 ? "/v1/completions" : "/v1/chat/completions"; };
  for (int i = 0; i < 64; ++i) expected[static_cast<size_t>(i)] = join(server_.post(path(i), body(i)));
  std::vector<std::thread> clients;
  for (int i = 0; i < 64; ++i)
    clients.emplace_back([&, i] { got[static_cast<size_t>(i)] = join(server_.post(path(i), body(i))); });
  for (std::thread& client : clients) client.join();
  EXPECT_EQ(got, expected);
  EXPECT_GT(std::set<std::string>(got.begin(), got.end()).size(), 50U)
      << "the answers differ from each other";
  EXPECT_TRUE(server_.wait_for_metric("facet_requests_running", 0));
  EXPECT_EQ(server_.metric("facet_kv_pages_used"), server_.metric("facet_prefix_blocks"));
}

TEST_F(GenerationTest, AClientThatLeavesIsForgotten) {
  json body = completion("long", 1, 450);
  for (const bool stream : {false, true}) {
    body["stream"] = stream;
    HttpClient client(server_.port());
    client.send_request("POST", "/v1/completions", body.dump());
    ASSERT_TRUE(server_.wait_for_metric("facet_requests_running", 1));
  }
  EXPECT_TRUE(server_.wait_for_metric("facet_requests_running", 0));
  EXPECT_LT(server_.metric("facet_generated_tokens_total"), 800);
  EXPECT_THAT(server_.log(), HasSubstr("\"status\":499"));
}

TEST(Queue, IsBounded) {
  RunningServerOptions options;
  options.parallel = 1;
  options.context = 4096;
  options.scheduler.queue = 2;
  const RunningServer server(options);
  std::vector<std::unique_ptr<HttpClient>> clients;
  json body = completion("long", 1, 4000);
  body["stream"] = true;
  for (int i = 0; i < 3; ++i) {
    clients.push_back(std::make_unique<HttpClient>(server.port()));
    clients.back()->send_request("POST", "/v1/completions", body.dump());
    ASSERT_TRUE(
        server.wait_for_metric(i == 0 ? "facet_requests_running" : "facet_requests_waiting", std::max(1, i)));
  }
  const auto refused = server.post("/v1/completions", body);
  EXPECT_EQ(refused.status, 429);
  EXPECT_EQ(refused.header("retry-after"), "1");
  EXPECT_EQ(refused.json().at("error").at("type"), "rate_limit_error");
}

TEST(Loading, IsToldUntilItIsDone) {
  std::promise<void> loaded;
  RunningServerOptions options;
  options.load_after = loaded.get_future().share();
  const RunningServer server(options);
  const auto health = testing::request(server.port(), "GET", "/health");
  EXPECT_EQ(health.status, 503);
  EXPECT_EQ(health.json().at("status"), "loading");
  const auto refused = server.post("/v1/completions", completion("a", 1, 1));
  EXPECT_EQ(refused.status, 503);
  EXPECT_EQ(refused.header("retry-after"), "1");
  EXPECT_EQ(server.metric("facet_ready"), 0);
  loaded.set_value();
  server.wait_until_ready();
  EXPECT_EQ(server.post("/v1/completions", completion("a", 1, 1)).status, 200);
}

TEST(Stopping, LetsAnswersEndAndTakesNoMore) {
  RunningServerOptions options;
  options.parallel = 2;
  RunningServer server(options);
  HttpClient idle(server.port());
  ASSERT_TRUE(server.wait_for_metric("facet_connections", 2));
  HttpClient client(server.port());
  json body = completion("long", 1, 300);
  body["stream"] = true;
  client.send_request("POST", "/v1/completions", body.dump());
  ASSERT_TRUE(client.read_until("data:"));
  server.begin_stop();
  EXPECT_TRUE(idle.closed());
  const auto reply = client.read_reply();
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->events().back(), "[DONE]");
  EXPECT_TRUE(client.closed());
  server.stop();
  EXPECT_THROW(HttpClient{server.port()}, std::runtime_error);
}

TEST(Stopping, BreaksOffWhatTakesTooLong) {
  RunningServerOptions options;
  options.context = 4096;
  options.server.drain_timeout = 50ms;
  RunningServer server(options);
  HttpClient client(server.port());
  json body = completion("long", 1, 4000);
  body["stream"] = true;
  client.send_request("POST", "/v1/completions", body.dump());
  ASSERT_TRUE(client.read_until("data:"));
  const auto start = std::chrono::steady_clock::now();
  server.begin_stop();
  const auto reply = client.read_reply();
  ASSERT_TRUE(reply);
  EXPECT_EQ(json::parse(reply->events().back()).at("error").at("message"), "the server is stopping");
  server.stop();
  EXPECT_LT(std::chrono::steady_clock::now() - start, 5s);
}

TEST(Stopping, TwiceLeavesAnswersInTheMiddle) {
  RunningServerOptions options;
  options.context = 4096;
  RunningServer server(options);
  std::vector<std::unique_ptr<HttpClient>> clients;
  for (int i = 0; i < 6; ++i) {  // more than run at once, of both kinds
    clients.push_back(std::make_unique<HttpClient>(server.port()));
    json body = completion("long", i, 4000);
    body["stream"] = i % 2 == 0;
    clients.back()->send_request("POST", "/v1/completions", body.dump());
  }
  ASSERT_TRUE(clients.front()->read_until("data:"));
  server.begin_stop();
  const auto start = std::chrono::steady_clock::now();
  server.stop();  // what is left must not refer to what is gone: for the address sanitizer to tell
  EXPECT_LT(std::chrono::steady_clock::now() - start, 5s);
}

TEST(Page, IsServedWithAPolicyThatFitsIt) {
  const RunningServer server;
  const auto reply = testing::request(server.port(), "GET", "/");
  EXPECT_EQ(reply.status, 200);
  EXPECT_THAT(reply.header("content-type"), HasSubstr("text/html"));
  const std::string policy = reply.header("content-security-policy");
  const size_t at = policy.find("'nonce-") + 7;
  const std::string nonce = policy.substr(at, policy.find('\'', at) - at);
  EXPECT_THAT(policy, HasSubstr("default-src 'none'"));
  EXPECT_THAT(reply.body, HasSubstr(fmt::format("<script nonce=\"{}\">", nonce)));
  EXPECT_THAT(reply.body, HasSubstr(fmt::format("<style nonce=\"{}\">", nonce)));
  EXPECT_THAT(reply.body, ::testing::Not(HasSubstr("{{nonce}}")));
  EXPECT_NE(testing::request(server.port(), "GET", "/").header("content-security-policy"), policy);
}

}  // namespace
}  // namespace facet
