#include "text/response_parser.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "support/gemma3_tokenizer.h"
#include "support/tiny_tokenizer.h"
#include "text/utf8.h"

namespace facet::text {
namespace {

/// Events in short: "content(…) reasoning(…) call0(NAME) args0(…) end0 broken0 end-of-turn", pieces of one
/// kind joined.
std::string summarize(std::span<const ChatEvent> events) {
  std::string summary;
  std::string open;
  for (const ChatEvent& event : events) {
    EXPECT_TRUE(is_utf8(event.text));
    const std::string number = std::to_string(event.call);
    std::string kind;
    switch (event.kind) {
      case ChatEvent::Kind::kContent: kind = "content("; break;
      case ChatEvent::Kind::kReasoning: kind = "reasoning("; break;
      case ChatEvent::Kind::kToolCallBegin: kind = "call" + number + "("; break;
      case ChatEvent::Kind::kToolCallArguments: kind = "args" + number + "("; break;
      case ChatEvent::Kind::kToolCallEnd: kind = (event.well_formed ? "end" : "broken") + number; break;
      case ChatEvent::Kind::kEndOfTurn: kind = "end-of-turn"; break;
    }
    const bool has_text = kind.back() == '(';
    EXPECT_EQ(event.text.empty(), !has_text);
    if (kind == open) {
      summary += event.text;
      continue;
    }
    if (!open.empty()) summary += ")";
    if (!summary.empty()) summary += " ";
    summary += kind + event.text;
    open = has_text ? kind : "";
  }
  return open.empty() ? summary : summary + ")";
}

std::string parse_ids(const Tokenizer& tokenizer, const std::vector<int32_t>& ids, bool in_thought = false) {
  ResponseParser parser(tokenizer, find_chat_tokens(tokenizer).value(), in_thought);
  std::vector<ChatEvent> events;
  const auto keep = [&](std::span<const ChatEvent> more) {
    events.insert(events.end(), more.begin(), more.end());
  };
  for (const int32_t id : ids) keep(parser.push(id));
  keep(parser.finish());
  return summarize(events);
}

/// Parses an answer whose tokens are spelled out.
std::string parse(std::string_view answer, bool in_thought = false) {
  const Tokenizer& tokenizer = testing::tiny_tokenizer();
  return parse_ids(tokenizer, tokenizer.encode(answer, {.add_bos = false}), in_thought);
}

TEST(ResponseParser, TellsAnAnswerApart) {
  EXPECT_EQ(parse(""), "");
  EXPECT_EQ(parse("Hello.<turn|>"), "content(Hello.) end-of-turn");
  EXPECT_EQ(parse("Hello."), "content(Hello.)");
  EXPECT_EQ(parse("Hello.<eos>more"), "content(Hello.) end-of-turn");
  EXPECT_EQ(parse("Hello.<|turn>user\n"), "content(Hello.) end-of-turn");
}

TEST(ResponseParser, SeparatesReasoning) {
  EXPECT_EQ(parse("<|channel>thought\nHm.\n\nSo 4.\n<channel|>It is 4.<turn|>"),
            "reasoning(Hm.\n\nSo 4.) content(It is 4.) end-of-turn");
  EXPECT_EQ(parse("<|channel>thought\n<channel|>It is 4.<turn|>"), "content(It is 4.) end-of-turn");
  EXPECT_EQ(parse("<|channel>thought<channel|>It is 4."), "content(It is 4.)");
  EXPECT_EQ(parse("<|channel>thought\nHm.<channel|>4"), "reasoning(Hm.) content(4)");
  EXPECT_EQ(parse("<|channel>thought\nHm.\n\n<channel|>4"), "reasoning(Hm.\n) content(4)");
  EXPECT_EQ(parse("<|channel>thought\nHm.\n"), "reasoning(Hm.\n)");  // cut off: nothing was its last newline
  EXPECT_EQ(parse("<|channel>thought\nHm.<turn|>"), "reasoning(Hm.) end-of-turn");
  EXPECT_EQ(parse("<|channel>thou"), "reasoning(thou)");
  EXPECT_EQ(parse("<|channel>plan\nFirst<channel|>4"), "reasoning(plan\nFirst) content(4)");
  EXPECT_EQ(parse("a<channel|>b"), "content(ab)");  // no thought to end
  EXPECT_EQ(parse("a<|channel>thought\nb<channel|>c<|channel>thought\nd<channel|>e"),
            "content(a) reasoning(b) content(c) reasoning(d) content(e)");
}

TEST(ResponseParser, GoesOnThinkingWhereThePromptEndsInAThought) {
  EXPECT_EQ(parse("Now I know.\n<channel|>It is late.<turn|>", true),
            "reasoning(Now I know.) content(It is late.) end-of-turn");
}

TEST(ResponseParser, TranslatesToolCalls) {
  EXPECT_EQ(parse("<|tool_call>call:get_weather{city:<|\"|>Ulm<|\"|>,days:3}<tool_call|><|tool_response>"),
            R"(call0(get_weather) args0({"city":"Ulm","days":3}) end0 end-of-turn)");
  EXPECT_EQ(
      parse(
          "I look.<|tool_call>call:a{}<tool_call|><|tool_call>call:b{x:[true]}<tool_call|><|tool_response>"),
      R"(content(I look.) call0(a) args0({}) end0 call1(b) args1({"x":[true]}) end1 end-of-turn)");
  EXPECT_EQ(parse("<|channel>thought\nHm.\n<|tool_call>call:a{}<tool_call|>"),
            "reasoning(Hm.\n) call0(a) args0({}) end0");
  EXPECT_EQ(parse("<|tool_call> call: a.b-c/d {}<tool_call|>"), "call0(a.b-c/d) args0({}) end0");
  EXPECT_EQ(parse("<|tool_call>call:a{}\n<tool_call|>x"), "call0(a) args0({}) end0 content(x)");
}

TEST(ResponseParser, CompletesBrokenCalls) {
  EXPECT_EQ(parse("<|tool_call>call:a{s:<|\"|>text"), R"(call0(a) args0({"s":"text"}) broken0)");
  EXPECT_EQ(parse("<|tool_call>call:a{s:<turn|>"), R"(call0(a) args0({"s":null}) broken0 end-of-turn)");
  EXPECT_EQ(parse("<|tool_call>call:a{s:1]}<tool_call|>b"), R"(call0(a) args0({"s":1}) broken0 content(b))");
  EXPECT_EQ(parse("<|tool_call>call:a<tool_call|>"), "call0(a) args0({}) broken0");
  EXPECT_EQ(parse("<|tool_call>call:a{x:1<|tool_call>call:b{}<tool_call|>"),
            R"(call0(a) args0({"x":1}) broken0 call1(b) args1({}) end1)");
}

TEST(ResponseParser, WhatIsNoCallIsContent) {
  EXPECT_EQ(parse("<|tool_call>I do not know<tool_call|>."), "content(I do not know.)");
  EXPECT_EQ(parse("<|tool_call>{\"name\": \"f\"}<tool_call|>"), "content({\"name\": \"f\"})");
  EXPECT_EQ(parse("<|tool_call>call:{}<tool_call|>"), "content(call:{})");
  EXPECT_EQ(parse("<|tool_call>call:two words{}<tool_call|>"), "content(call:two words{})");
  EXPECT_EQ(parse("<|tool_call>call:<|\"|>a<|\"|>{}"), "content(call:a{})");
  EXPECT_EQ(parse("<|tool_call><tool_call|>x"), "content(x)");
  const std::string endless(5000, 'x');
  EXPECT_EQ(parse("<|tool_call>call:" + endless), "content(call:" + endless + ")");
}

TEST(ResponseParser, DropsControlTokensWithoutMeaning) {
  EXPECT_EQ(parse("a<|think|>b<|\"|>c<tool_call|>d<pad>e<tool_response|>f"), "content(abcdef)");
  const Tokenizer& tokenizer = testing::tiny_tokenizer();
  const int32_t a = tokenizer.id("a").value();
  EXPECT_EQ(parse_ids(tokenizer, {a, -1, 100000, a}), "content(aa)");
}

TEST(ResponseParser, TextThatSpellsADelimiterIsText) {
  const Tokenizer& tokenizer = testing::tiny_tokenizer();
  const auto ids =
      tokenizer.encode("<|tool_call>call:a{}<tool_call|><turn|>", {.add_bos = false, .parse_special = false});
  EXPECT_EQ(parse_ids(tokenizer, ids), "content(<|tool_call>call:a{}<tool_call|><turn|>)");
}

TEST(ResponseParser, KnowsGemma3) {
  const Tokenizer& tokenizer = testing::gemma3_tokenizer();
  EXPECT_EQ(parse_ids(tokenizer, tokenizer.encode("Hello.<end_of_turn>\n", {.add_bos = false})),
            "content(Hello.) end-of-turn");
  EXPECT_EQ(parse_ids(tokenizer, tokenizer.encode("<|channel>thought\n", {.add_bos = false})),
            "content(<|channel>thought\n)");
}

/// `answer` as tokens, its text cut at random, some of it into single bytes.
std::vector<int32_t> tokenize_at_random(const std::string& answer, std::mt19937& random) {
  const Tokenizer& tokenizer = testing::tiny_tokenizer();
  std::vector<int32_t> ids;
  const auto whole = tokenizer.encode(answer, {.add_bos = false});
  for (const int32_t id : whole) {
    if (tokenizer.is_special(id) || tokenizer.byte(id) || random() % 3 == 0) {
      ids.push_back(id);
      continue;
    }
    for (const char byte : tokenizer.decode(std::vector<int32_t>{id})) {
      char piece[8];
      std::snprintf(piece, sizeof piece, "<0x%02X>", static_cast<unsigned>(static_cast<unsigned char>(byte)));
      ids.push_back(tokenizer.id(piece).value());
    }
  }
  return ids;
}

TEST(ResponseParser, GivesTheSameOnEveryCut) {
  const char* kParts[] = {"<|channel>",     "<channel|>", "thought\n", "thought", "\n",   "<|tool_call>",
                          "<tool_call|>",   "call:",      "call:f{",   "{",       "}",    "a:",
                          "<|\"|>",         ",",          "[",         "]",       "12",   "\"",
                          "text and more ", "é",          "😀",         "x",       "\n\n", "<|think|>"};
  std::mt19937 random(21);
  for (int round = 0; round < 4000; ++round) {
    std::string answer;
    for (size_t n = random() % 14; n > 0; --n) answer += kParts[random() % std::size(kParts)];
    if (random() % 4 == 0) answer += "<turn|>";
    const std::string expected = parse(answer);
    for (int cut = 0; cut < 4; ++cut) {
      const auto ids = tokenize_at_random(answer, random);
      ASSERT_EQ(parse_ids(testing::tiny_tokenizer(), ids), expected) << answer;
    }
  }
}

TEST(ResponseParser, ArgumentsAreAlwaysOneJsonObject) {
  const Tokenizer& tokenizer = testing::tiny_tokenizer();
  const ChatTokens tokens = find_chat_tokens(tokenizer).value();
  std::mt19937 random(22);
  for (int round = 0; round < 4000; ++round) {
    ResponseParser parser(tokenizer, tokens);
    std::vector<std::string> calls;
    size_t begun = 0;
    size_t ended = 0;
    const auto look = [&](std::span<const ChatEvent> events) {
      for (const ChatEvent& event : events) {
        if (event.kind == ChatEvent::Kind::kToolCallBegin) {
          EXPECT_EQ(event.call, begun++);
          calls.emplace_back();
        } else if (event.kind == ChatEvent::Kind::kToolCallArguments) {
          EXPECT_EQ(event.call + 1, begun);
          calls.back() += event.text;
        } else if (event.kind == ChatEvent::Kind::kToolCallEnd) {
          EXPECT_EQ(event.call, ended++);
          EXPECT_TRUE(nlohmann::json::parse(calls.back()).is_object()) << calls.back();
        }
      }
    };
    for (int32_t id : tokenizer.encode("<|tool_call>call:f{", {.add_bos = false})) look(parser.push(id));
    for (size_t n = random() % 30; n > 0; --n)
      look(parser.push(static_cast<int32_t>(random() % tokenizer.vocab_size())));
    look(parser.finish());
    EXPECT_EQ(begun, ended);
  }
}

}  // namespace
}  // namespace facet::text
