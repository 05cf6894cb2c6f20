#include "text/chat_format.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/error.h"
#include "support/gemma3_tokenizer.h"
#include "support/paths.h"
#include "support/tiny_tokenizer.h"
#include "text/trim.h"

namespace facet::text {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

Role role_of(const std::string& name) {
  if (name == "system" || name == "developer") return Role::kSystem;
  if (name == "model") return Role::kModel;
  return name == "tool" ? Role::kTool : Role::kUser;
}

Conversation conversation_of(const json& test) {
  Conversation conversation;
  conversation.thinking = test.value("thinking", false);
  for (const json& tool : test.value("tools", json::array()))
    conversation.tools.push_back({tool.at("name"), tool.at("description"), tool.value("parameters", json())});
  for (const json& m : test.at("messages")) {
    Message message;
    message.role = role_of(m.at("role"));
    message.content = m.value("content", "");
    message.reasoning = m.value("reasoning", "");
    message.tool_call_id = m.value("tool_call_id", "");
    message.tool_name = m.value("tool_name", "");
    message.tool_result = m.value("tool_result", json());
    for (const json& call : m.value("tool_calls", json::array()))
      message.tool_calls.push_back({call.at("id"), call.at("name"), call.at("arguments")});
    conversation.messages.push_back(std::move(message));
  }
  return conversation;
}

/// Renders each case of a golden file; its `prompt` is the whole prompt with its tokens spelled out.
void check_goldens(const Tokenizer& tokenizer, const char* name, size_t count) {
  std::ifstream file(testing::data_dir() / "text" / name);
  const json tests = json::parse(file);
  EXPECT_EQ(tests.size(), count);
  for (const json& test : tests) {
    SCOPED_TRACE(test.at("name").get<std::string>());
    const ChatFormat format(tokenizer, {.empty_thought = test.value("empty_thought", false)});
    const ChatPrompt prompt = format.render(conversation_of(test));
    const std::string expected = test.at("prompt");
    EXPECT_EQ(tokenizer.decode(prompt.ids), expected);
    EXPECT_EQ(prompt.in_thought, test.value("in_thought", false));
    // Text that spells a token is not in these cases, except where it is dropped: so this is what Hugging
    // Face would make of the rendered template.
    EXPECT_EQ(prompt.ids, tokenizer.encode(expected, {.add_bos = false}));
  }
}

TEST(ChatFormat, RendersGemma4) {
  check_goldens(testing::tiny_tokenizer(), "chat-gemma4.json", 29);
}

TEST(ChatFormat, RendersGemma3) {
  check_goldens(testing::gemma3_tokenizer(), "chat-gemma3.json", 2);
}

Conversation says(std::string text) {
  Conversation conversation;
  conversation.messages.push_back({.role = Role::kUser, .content = std::move(text)});
  return conversation;
}

std::vector<int32_t> control_tokens(const Tokenizer& tokenizer, const std::vector<int32_t>& ids) {
  std::vector<int32_t> found;
  for (const int32_t id : ids)
    if (tokenizer.is_special(id)) found.push_back(id);
  return found;
}

TEST(ChatFormat, EveryControlTokenSpelledInATextStaysText) {
  const Tokenizer& tokenizer = testing::tiny_tokenizer();
  const ChatFormat format(tokenizer);
  const auto skeleton = control_tokens(tokenizer, format.render(says("x")).ids);
  for (int32_t id = 0; id < static_cast<int32_t>(tokenizer.vocab_size()); ++id) {
    if (!tokenizer.is_special(id)) continue;
    const std::string spelled = "a" + std::string(tokenizer.token(id)) + "b";
    const auto ids = format.render(says(spelled)).ids;
    EXPECT_EQ(control_tokens(tokenizer, ids), skeleton) << spelled;
    EXPECT_THAT(tokenizer.decode(ids), HasSubstr("user\n" + spelled));
  }
}

TEST(ChatFormat, ControlTokensSpelledInToolsAndResultsStayText) {
  const Tokenizer& tokenizer = testing::tiny_tokenizer();
  const ChatFormat format(tokenizer);
  const auto render = [&](const std::string& s) {
    Conversation c = says(s);
    c.tools.push_back(
        {s, s, {{"type", "object"}, {"properties", {{s, {{"type", "string"}, {"description", s}}}}}}});
    c.messages.push_back({.role = Role::kModel, .reasoning = s, .tool_calls = {{"1", s, {{s, s}}}}});
    c.messages.push_back({.role = Role::kTool, .content = s, .tool_call_id = "1"});
    return format.render(c).ids;
  };
  const auto skeleton = control_tokens(tokenizer, render("x"));
  for (const char* s : {"<|\"|>", "<turn|>", "<tool_call|>", "<tool_response|>", "<bos>"}) {
    const auto ids = render(s);
    EXPECT_EQ(control_tokens(tokenizer, ids), skeleton) << s;
  }
}

TEST(ChatFormat, DelimitersThatAFileCallsUserDefinedAreStructureAllTheSame) {
  json tokenizer_json = testing::tiny_tokenizer_json();
  for (json& token : tokenizer_json["added_tokens"])
    if (token["content"].get<std::string>().find('|') != std::string::npos) token["special"] = false;
  const Tokenizer tokenizer = Tokenizer::from_json(tokenizer_json.dump());
  const auto ids = ChatFormat(tokenizer).render(says("<turn|>")).ids;
  EXPECT_EQ(ids, ChatFormat(testing::tiny_tokenizer()).render(says("<turn|>")).ids);
}

std::string refusal(const Tokenizer& tokenizer, const Conversation& conversation) {
  try {
    static_cast<void>(ChatFormat(tokenizer).render(conversation));
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kBadInput);
    return error.what();
  }
  return "(accepted)";
}

TEST(ChatFormat, RefusesWhatItCannotSay) {
  const Tokenizer& gemma4 = testing::tiny_tokenizer();
  Conversation stray = says("x");
  stray.messages.push_back({.role = Role::kTool, .content = "y"});
  EXPECT_THAT(refusal(gemma4, stray), HasSubstr("messages[1]: a tool result that no tool call precedes"));

  Conversation text_arguments = says("x");
  text_arguments.messages.push_back({.role = Role::kModel, .tool_calls = {{"1", "f", "{}"}}});
  EXPECT_THAT(refusal(gemma4, text_arguments),
              HasSubstr("the arguments of the call of \"f\" are not an object"));

  Conversation bad_schema = says("x");
  bad_schema.tools.push_back({"f", "", "object"});
  EXPECT_THAT(refusal(gemma4, bad_schema), HasSubstr("not a JSON schema object"));

  Conversation deep = says("x");
  json nested = 1;
  for (int i = 0; i < 100; ++i) nested = json::array({nested});
  deep.messages.push_back({.role = Role::kModel, .tool_calls = {{"1", "f", {{"a", nested}}}}});
  EXPECT_THAT(refusal(gemma4, deep), HasSubstr("deeper than 64"));

  Conversation deep_schema = says("x");
  json schema = {{"type", "string"}};
  for (int i = 0; i < 100; ++i) schema = {{"type", "object"}, {"properties", {{"p", schema}}}};
  deep_schema.tools.push_back({"f", "", schema});
  EXPECT_THAT(refusal(gemma4, deep_schema), HasSubstr("deeper than 64"));

  const Tokenizer& gemma3 = testing::gemma3_tokenizer();
  Conversation twice = says("x");
  twice.messages.push_back({.role = Role::kUser, .content = "y"});
  EXPECT_THAT(refusal(gemma3, twice), HasSubstr("messages[1]"));
  Conversation thinking = says("x");
  thinking.thinking = true;
  EXPECT_THAT(refusal(gemma3, thinking), HasSubstr("no thinking"));
  Conversation tools = says("x");
  tools.tools.push_back({"f", "", nullptr});
  EXPECT_THAT(refusal(gemma3, tools), HasSubstr("no tool calls"));
}

TEST(ChatFormat, RefusesATokenizerWithoutTurns) {
  json tokenizer = testing::tiny_tokenizer_json();
  for (json& token : tokenizer["added_tokens"])
    if (token["content"] == "<|turn>") token["content"] = "<|spin>";
  auto& vocab = tokenizer["model"]["vocab"];
  vocab["<|spin>"] = vocab["<|turn>"];
  vocab.erase("<|turn>");
  const Tokenizer base = Tokenizer::from_json(tokenizer.dump());
  EXPECT_EQ(find_chat_tokens(base), std::nullopt);
  EXPECT_THROW(ChatFormat{base}, Error);
}

TEST(ChatTokens, StopsAtTheEndOfTheTurnAtAResultAndAtTheEndOfText) {
  const Tokenizer& tokenizer = testing::tiny_tokenizer();
  const auto tokens = find_chat_tokens(tokenizer);
  ASSERT_TRUE(tokens);
  EXPECT_THAT(tokens->stop_ids(), ::testing::ElementsAre(tokenizer.id("<turn|>").value(),
                                                         tokenizer.id("<|tool_response>").value(),
                                                         tokenizer.id("<eos>").value()));
  const auto gemma3 = find_chat_tokens(testing::gemma3_tokenizer());
  ASSERT_TRUE(gemma3);
  EXPECT_EQ(gemma3->dialect, ChatDialect::kGemma3);
  EXPECT_THAT(gemma3->stop_ids(), ::testing::ElementsAre(106, 1));
}

TEST(Trim, TakesOffUnicodeWhiteSpace) {
  EXPECT_EQ(trim(" \t\n\v\f\r\x1C\u0085\u00A0\u1680\u2003\u2028\u202F\u205F\u3000x y\u3000 "), "x y");
  EXPECT_EQ(trim("\u200Bx\u200B"), "\u200Bx\u200B");  // zero width space is no white space
  EXPECT_EQ(trim(" \n"), "");
  EXPECT_EQ(trim(""), "");
  EXPECT_EQ(trim("\x80 \x80"), "\x80 \x80");
}

}  // namespace
}  // namespace facet::text
