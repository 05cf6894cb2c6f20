// Every bad request is a 400 that names its field and quotes nothing; what may be odd but is allowed is read
// right.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "running_server.h"
#include "server/api_request.h"

namespace facet {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using testing::RunningServer;

/// A chat request with these members in place of or beside the usual ones, as JSON text.
std::string chat_with(const std::string& members) {
  return fmt::format(R"({{"messages":[{{"role":"user","content":"a"}}],"max_tokens":1,{}}})", members);
}

server::ChatRequest read_chat(const std::string& text) {
  const server::Json request = server::parse_request(text);
  return server::read_chat_request(server::RequestView(request), {.sampling = {}, .vocab_size = 896});
}

server::CompletionRequest read_completion(const std::string& text) {
  const server::Json request = server::parse_request(text);
  return server::read_completion_request(server::RequestView(request), {.sampling = {}, .vocab_size = 896});
}

struct Bad {
  std::string request;
  std::string param;
};

template <class Read>
void expect_refused(const std::vector<Bad>& cases, Read read) {
  for (const Bad& bad : cases) {
    try {
      (void)read(bad.request);
      ADD_FAILURE() << "accepted: " << bad.request.substr(0, 200);
    } catch (const server::ApiError& error) {
      EXPECT_EQ(error.status(), 400) << bad.request.substr(0, 200);
      EXPECT_EQ(error.param(), bad.param) << bad.request.substr(0, 200) << "\n" << error.what();
      EXPECT_THAT(error.what(), Not(HasSubstr("SECRET")));
    }
  }
}

TEST(RequestHostile, Json) {
  std::string deep;
  for (int i = 0; i < 3000; ++i) deep += '[';
  expect_refused({{"", ""},
                  {"[]", ""},
                  {"null", ""},
                  {"\"SECRET\"", ""},
                  {"{\"SECRET", ""},
                  {R"({"a":SECRET})", ""},
                  {R"({"temperature":NaN})", ""},
                  {R"({"messages":[{"role":"user","content":"SECRET)", ""},
                  {R"({"messages":[],"messages":[]})", ""},
                  {"{\"a\":\"\xff\xfe\"}", ""},
                  {R"({"a":")" + deep, ""},
                  {R"({"a":)" + deep, ""}},
                 read_chat);
}

TEST(RequestHostile, GenerationFields) {
  std::vector<Bad> cases;
  const auto add = [&](const std::string& field, std::initializer_list<const char*> values) {
    for (const char* value : values)
      cases.push_back({chat_with(fmt::format("\"{}\":{}", field, value)), field});
  };
  add("n", {"-1", "0", "9", "2147483648", "1e308", "\"SECRET\"", "1.5", "true", "[]", "{}"});
  add("max_completion_tokens", {"-1", "0", "2147483648", "1e308", "\"5\"", "18446744073709551615", "0.5"});
  add("temperature", {"-1", "101", "\"1\"", "[]", "1e308", "-0.001"});
  add("top_p", {"0", "2", "-0.1", "\"1\""});
  add("top_k", {"-2", "1.5", "2147483648"});
  add("min_p", {"-0.1", "1.1", "\"0\""});
  add("frequency_penalty", {"-3", "3", "\"SECRET\""});
  add("presence_penalty", {"-2.1", "2.1"});
  add("repetition_penalty", {"0", "-1", "101"});
  add("seed", {"18446744073709551616", "1.5", "\"1\"", "1e30", "-9223372036854775809"});
  add("stop", {"5", R"([""])", "\"\"", R"(["a",5])", R"({"a":1})"});
  add("stream", {"1", "\"true\""});
  add("stream_options", {"1", "[]"});
  add("ignore_eos", {"1"});
  add("model", {"5", "[]"});
  add("logit_bias", {"[]", "5", R"({"896":1})", R"({"-1":1})", R"({"SECRET":1})", R"({"1.5":1})", R"({"":1})",
                     R"({"99999999999":1})", R"({" 1":1})"});
  add("top_logprobs", {"1", "21", "-1", "\"1\""});
  add("logprobs", {"1", "\"true\""});
  add("reasoning_effort", {"\"SECRET\"", "1"});
  add("chat_template_kwargs", {"1", "[]"});
  for (Bad& bad : cases) {
    // Where only a part is wrong the path goes down to it.
    if (bad.request.find(R"([""])") != std::string::npos) bad.param = "stop[0]";
    if (bad.request.find(R"(["a",5])") != std::string::npos) bad.param = "stop[1]";
  }
  cases.push_back({chat_with(R"("logit_bias":{"5":101})"), "logit_bias.5"});
  cases.push_back({chat_with(R"("logit_bias":{"5":"SECRET"})"), "logit_bias.5"});
  cases.push_back({chat_with(R"("stream_options":{"include_usage":1})"), "stream_options.include_usage"});
  cases.push_back({chat_with(R"("chat_template_kwargs":{"enable_thinking":"yes"})"),
                   "chat_template_kwargs.enable_thinking"});
  cases.push_back({chat_with(fmt::format("\"stop\":\"{}\"", std::string(257, 's'))), "stop"});
  std::string stops = "\"a\"";
  for (int i = 0; i < 16; ++i) stops += ",\"a\"";
  cases.push_back({chat_with(fmt::format("\"stop\":[{}]", stops)), "stop"});
  cases.push_back({chat_with(R"("response_format":{"type":"SECRET"})"), "response_format.type"});
  cases.push_back({chat_with(R"("response_format":{"type":"json_schema"})"), "response_format.json_schema"});
  for (const auto& [schema, param] : std::vector<std::pair<const char*, const char*>>{
           {"{}", "response_format.json_schema.schema"},
           {R"({"schema":"SECRET"})", "response_format.json_schema.schema"},
           {R"({"schema":{},"name":5})", "response_format.json_schema.name"},
           {R"({"schema":{},"strict":"SECRET"})", "response_format.json_schema.strict"}})
    cases.push_back(
        {chat_with(fmt::format(R"("response_format":{{"type":"json_schema","json_schema":{}}})", schema)),
         param});
  cases.push_back({chat_with(R"("response_format":{"type":"json_object"},"reasoning_effort":"high")"),
                   "response_format"});
  cases.push_back({chat_with(R"("response_format":{})"), "response_format.type"});
  cases.push_back({chat_with(R"("response_format":"text")"), "response_format"});
  expect_refused(cases, read_chat);
}

TEST(RequestHostile, AnswerSchemas) {
  const auto refusal = [](const std::string& schema) -> std::string {
    const std::string body = fmt::format(
        R"({{"response_format":{{"type":"json_schema","json_schema":{{"schema":{}}}}}}})", schema);
    try {
      (void)server::read_answer_schema(server::AnswerFormat::kJsonSchema, body);
    } catch (const server::ApiError& error) {
      EXPECT_EQ(error.status(), 400);
      EXPECT_EQ(error.param(), "response_format.json_schema.schema");
      return error.what();
    }
    return "accepted";
  };
  const std::string field = "response_format.json_schema.schema: ";
  EXPECT_EQ(refusal(R"({"type":"object"})"), "accepted");
  EXPECT_EQ(refusal(R"({"properties":{"a":{"pattern":"x"}}})"),
            field + R"(properties."a"."pattern": this keyword is not supported)");
  EXPECT_EQ(refusal(R"({"$ref":"#"})"), field + "no value of at most 32 levels satisfies it");
  std::string many;
  for (int i = 0; i < 1025; ++i) many += fmt::format("{}\"p{}\":true", i == 0 ? "" : ",", i);
  EXPECT_EQ(refusal(fmt::format(R"({{"properties":{{{}}}}})", many)),
            field + "bad JSON: an object of more than 1024 members");
  std::string values;
  for (int i = 0; i < 70000; ++i) values += fmt::format("{}{}", i == 0 ? "" : ",", i);
  EXPECT_EQ(refusal(fmt::format(R"({{"enum":[{}]}})", values)), field + "bad JSON: more than 65536 values");
}

TEST(RequestHostile, Messages) {
  const auto messages = [](const std::string& list) { return fmt::format(R"({{"messages":{}}})", list); };
  std::string many = "[";
  for (int i = 0; i < 1025; ++i) many += std::string(i == 0 ? "" : ",") + R"({"role":"user","content":"a"})";
  expect_refused(
      {{"{}", "messages"},
       {messages("[]"), "messages"},
       {messages("null"), "messages"},
       {messages("\"SECRET\""), "messages"},
       {messages("{}"), "messages"},
       {messages(many + "]"), "messages"},
       {messages("[5]"), "messages[0]"},
       {messages("[{}]"), "messages[0].role"},
       {messages(R"([{"role":"SECRET","content":"a"}])"), "messages[0].role"},
       {messages(R"([{"role":5,"content":"a"}])"), "messages[0].role"},
       {messages(R"([{"role":"user"}])"), "messages[0].content"},
       {messages(R"([{"role":"user","content":null}])"), "messages[0].content"},
       {messages(R"([{"role":"user","content":5}])"), "messages[0].content"},
       {messages(R"([{"role":"user","content":[5]}])"), "messages[0].content[0]"},
       {messages(R"([{"role":"user","content":[{"type":"image_url","image_url":{"url":"SECRET"}}]}])"),
        "messages[0].content[0].type"},
       {messages(R"([{"role":"user","content":[{"type":"text"}]}])"), "messages[0].content[0].text"},
       {messages(R"([{"role":"user","content":"a"},{"role":"tool","content":"a"}])"), "messages[1]"},
       {messages(R"([{"role":"assistant","tool_calls":[{}]}])"), "messages[0].tool_calls[0].function"},
       {messages(R"([{"role":"assistant","tool_calls":[{"function":{"name":"f","arguments":"SECRET"}}]}])"),
        "messages[0].tool_calls[0].function.arguments"},
       {messages(R"([{"role":"assistant","tool_calls":[{"function":{"name":"a b"}}]}])"),
        "messages[0].tool_calls[0].function.name"}},
      read_chat);
}

TEST(RequestHostile, Tools) {
  expect_refused(
      {{chat_with(R"("tools":5)"), "tools"},
       {chat_with(R"("tools":[5])"), "tools[0]"},
       {chat_with(R"("tools":[{"type":"retrieval"}])"), "tools[0].type"},
       {chat_with(R"("tools":[{"type":"function"}])"), "tools[0].function"},
       {chat_with(R"("tools":[{"type":"function","function":{}}])"), "tools[0].function.name"},
       {chat_with(R"("tools":[{"type":"function","function":{"name":"<|turn>"}}])"),
        "tools[0].function.name"},
       {chat_with(R"("tools":[{"type":"function","function":{"name":"f","parameters":5}}])"),
        "tools[0].function.parameters"},
       {chat_with(R"("tools":[{"function":{"name":"f"}}],"tool_choice":"required")"), "tool_choice"},
       {chat_with(R"("tools":[{"function":{"name":"f"}}],"tool_choice":5)"), "tool_choice"},
       {chat_with(R"("tools":[{"function":{"name":"f"}}],"tool_choice":{"type":"function"})"),
        "tool_choice"}},
      read_chat);
}

TEST(RequestHostile, Completions) {
  expect_refused({{"{}", "prompt"},
                  {R"({"prompt":null})", "prompt"},
                  {R"({"prompt":5})", "prompt"},
                  {R"({"prompt":[]})", "prompt"},
                  {R"({"prompt":[896]})", "prompt[0]"},
                  {R"({"prompt":[1,-1]})", "prompt[1]"},
                  {R"({"prompt":[1,"SECRET"]})", "prompt[1]"},
                  {R"({"prompt":[1,2.5]})", "prompt[1]"},
                  {R"({"prompt":["a",5]})", "prompt[1]"},
                  {R"({"prompt":["a",[]]})", "prompt[1]"},
                  {R"({"prompt":["a","b","c"],"n":3})", "n"},
                  {R"({"prompt":["a","b","c","d","e","f","g","h","i"]})", "prompt"},
                  {R"({"prompt":"a","logprobs":21})", "logprobs"},
                  {R"({"prompt":"a","logprobs":true})", "logprobs"},
                  {R"({"prompt":"a","echo":true})", "echo"},
                  {R"({"prompt":"a","suffix":"SECRET"})", "suffix"},
                  {R"({"prompt":"a","best_of":3})", "best_of"}},
                 read_completion);
}

TEST(RequestReading, NullUnknownAndOddButAllowed) {
  const auto chat = read_chat(chat_with(
      R"("temperature":null,"n":null,"seed":null,"tools":null,"unknown":{"deep":[1]},"user":5,"top_k":-1,)"
      R"("logit_bias":{"7":-100,"0":1.5},"stop":["a","b"])"));
  EXPECT_EQ(chat.generation.choices, 1);
  EXPECT_EQ(chat.generation.sampling.top_k, 0);
  EXPECT_EQ(chat.generation.sampling.logit_bias.size(), 2U);
  EXPECT_EQ(chat.generation.stop, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(read_chat(chat_with(R"("seed":18446744073709551615)")).generation.sampling.seed, UINT64_MAX);
  EXPECT_EQ(read_chat(chat_with(R"("seed":-1)")).generation.sampling.seed, UINT64_MAX);
  EXPECT_EQ(read_chat(chat_with(R"("top_k":2147483647)")).generation.sampling.top_k, INT32_MAX);
  EXPECT_EQ(read_chat(chat_with(R"("logprobs":true,"top_logprobs":5)")).generation.top_logprobs, 5);
  EXPECT_EQ(read_chat(chat_with(R"("logprobs":false,"top_logprobs":0)")).generation.top_logprobs, -1);
  EXPECT_EQ(read_chat(chat_with(R"("max_completion_tokens":7)")).generation.max_tokens, 7);
  EXPECT_TRUE(read_chat(chat_with(R"("reasoning_effort":"low")")).conversation.thinking);
  EXPECT_FALSE(read_chat(chat_with(R"("reasoning_effort":"none")")).conversation.thinking);
  EXPECT_FALSE(
      read_chat(chat_with(R"("reasoning_effort":"high","chat_template_kwargs":{"enable_thinking":false})"))
          .conversation.thinking);
}

TEST(RequestReading, Conversations) {
  const auto chat = read_chat(R"({"messages":[
    {"role":"developer","content":[{"type":"text","text":"be "},{"type":"text","text":"kind"}]},
    {"role":"user","content":"hi"},
    {"role":"assistant","content":null,"reasoning_content":"hm","tool_calls":[
      {"id":"c1","type":"function","function":{"name":"f","arguments":"{\"a\":1}"}}]},
    {"role":"tool","tool_call_id":"c1","content":"42"}],
    "tools":[{"type":"function","function":{"name":"f","description":"d","parameters":{"type":"object"}}}],
    "tool_choice":"auto"})");
  const auto& messages = chat.conversation.messages;
  ASSERT_EQ(messages.size(), 4U);
  EXPECT_EQ(messages[0].role, text::Role::kSystem);
  EXPECT_EQ(messages[0].content, "be kind");
  EXPECT_EQ(messages[2].reasoning, "hm");
  ASSERT_EQ(messages[2].tool_calls.size(), 1U);
  EXPECT_EQ(messages[2].tool_calls[0].arguments.at("a"), 1);
  EXPECT_EQ(messages[3].tool_call_id, "c1");
  ASSERT_EQ(chat.conversation.tools.size(), 1U);
  EXPECT_EQ(chat.conversation.tools[0].description, "d");
}

TEST(RequestReading, Prompts) {
  EXPECT_EQ(read_completion(R"({"prompt":"a"})").generation.max_tokens, 16);
  EXPECT_EQ(read_completion(R"({"prompt":[5,6]})").prompts[0].ids, (std::vector<int32_t>{5, 6}));
  const auto two = read_completion(R"({"prompt":["a",[7]],"n":2})");
  ASSERT_EQ(two.prompts.size(), 2U);
  EXPECT_EQ(two.prompts[0].text, "a");
  EXPECT_EQ(two.prompts[1].ids, (std::vector<int32_t>{7}));
}

// The same over the wire: the error's shape, and nothing of the request in the log.
TEST(RequestHostile, OverTheWire) {
  RunningServer server;
  const auto refused = testing::request(server.port(), "POST", "/v1/chat/completions",
                                        chat_with(R"("temperature":"SECRET WORDS")"));
  EXPECT_EQ(refused.status, 400);
  const auto error = refused.json().at("error");
  EXPECT_EQ(error.at("type"), "invalid_request_error");
  EXPECT_EQ(error.at("param"), "temperature");
  EXPECT_THAT(error.at("message").get<std::string>(),
              HasSubstr("temperature: expected a number from 0 to 100"));
  for (const char* path : {"/v1/chat/completions", "/v1/completions", "/tokenize", "/detokenize"})
    EXPECT_EQ(testing::request(server.port(), "POST", path, std::string(3000, '[')).status, 400) << path;
  EXPECT_EQ(server.post("/v1/completions", {{"prompt", "SECRET WORDS"}, {"max_tokens", 2}}).status, 200);
  EXPECT_EQ(testing::request(server.port(), "GET", "/SECRET-PATH?SECRET=1").status, 404);
  const std::string log = server.log();
  EXPECT_THAT(log, HasSubstr("\"route\":\"/v1/completions\",\"status\":200"));
  EXPECT_THAT(log, Not(HasSubstr("SECRET")));
}

TEST(RequestHostile, PromptsThatDoNotFitTheContext) {
  testing::RunningServerOptions options;
  options.context = 64;
  const RunningServer server(options);
  const auto ask = [&](size_t length) {
    return server.post("/v1/completions",
                       {{"prompt", std::vector<int>(length, 20)}, {"ignore_eos", true}, {"max_tokens", 5}});
  };
  const auto full = ask(64);
  EXPECT_EQ(full.status, 200);
  EXPECT_EQ(full.json().at("usage").at("completion_tokens"), 1);
  EXPECT_EQ(full.json().at("choices")[0].at("finish_reason"), "length");
  const auto over = ask(65);
  EXPECT_EQ(over.status, 400);
  EXPECT_EQ(over.json().at("error").at("code"), "context_length_exceeded");
  EXPECT_EQ(server.post("/v1/completions", {{"prompt", std::string(1 << 20, 'x')}}).status, 400);
}

}  // namespace
}  // namespace facet
