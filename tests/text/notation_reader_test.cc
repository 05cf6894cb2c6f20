#include "text/notation_reader.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "support/tiny_tokenizer.h"
#include "text/tool_notation.h"
#include "text/utf8.h"

namespace facet::text {
namespace {

using nlohmann::json;

constexpr char kQuote = '`';  // stands for the <|"|> token in this file

struct Reading {
  std::string json;
  bool whole = false;
  bool operator==(const Reading&) const = default;
};

/// Feeds `notation`, cut after each byte whose bit in `cuts` is set (code points stay whole).
Reading read(std::string_view notation, uint64_t cuts = 0) {
  NotationReader reader;
  Reading reading;
  std::string piece;
  const auto flush = [&] {
    reader.text(piece, reading.json);
    piece.clear();
  };
  for (size_t i = 0; i < notation.size(); ++i) {
    if (notation[i] == kQuote) {
      flush();
      reader.quote(reading.json);
      continue;
    }
    piece += notation[i];
    if ((cuts >> (i % 64) & 1U) != 0 && is_utf8(piece)) flush();
  }
  flush();
  reading.whole = reader.finish(reading.json);
  return reading;
}

TEST(NotationReader, TranslatesToJson) {
  const std::pair<const char*, const char*> kCases[] = {
      {"{}", "{}"},
      {"{city:`Ulm`}", R"({"city":"Ulm"})"},
      {"{n:1,x:-2.5e3,t:true,f:false,z:null}", R"({"n":1,"x":-2.5e3,"t":true,"f":false,"z":null})"},
      {"{a:[1,`two`,[],{},[{k:`v`}]]}", R"({"a":[1,"two",[],{},[{"k":"v"}]]})"},
      {"{s:`a,b}]\":{`}", R"({"s":"a,b}]\":{"})"},
      {"{s:`line\nbreak\tand \\ and \"`}", R"({"s":"line\nbreak\u0009and \\ and \""})"},
      {"{s:``}", R"({"s":""})"},
      {"{`k`:`v`,`l`:2}", R"({"k":"v","l":2})"},
      {"{größe:`weiß 😀`}", R"({"größe":"weiß 😀"})"},
      {"{ a : 1 ,\n b : [ 1 , 2 ] }", R"({"a":1,"b":[1,2]})"},
      {"{a:1,}", R"({"a":1})"},
      {"{a:[1,],}", R"({"a":[1]})"},
      {"{\"a\":\"b, \\\"c\\\" \\u00e9\\n\"}", R"({"a":"b, \"c\" é\n"})"},
      {"{a:\"\\ud83d\"}", "{\"a\":\"\uFFFD\"}"},
      {"{when:tomorrow noon,n:007,p:+1,q:.5,r:1e999}",
       R"({"when":"tomorrow noon","n":"007","p":"+1","q":".5","r":"1e999"})"},
      {"{file.name-2:1}", R"({"file.name-2":1})"},
  };
  for (const auto& [notation, expected] : kCases)
    EXPECT_EQ(read(notation), (Reading{expected, true})) << notation;
}

TEST(NotationReader, CompletesWhatIsBroken) {
  const std::pair<const char*, const char*> kCases[] = {
      {"", "{}"},
      {"x", "{}"},
      {"`", "{}"},
      {"{", "{}"},
      {"{a", "{}"},
      {"{`a`", "{}"},
      {"{a:", R"({"a":null})"},
      {"{a:`b", R"({"a":"b"})"},
      {"{a:\"b\\", R"({"a":"b"})"},
      {"{a:12", R"({"a":12})"},
      {"{a:tru", R"({"a":"tru"})"},
      {"{a:[1,{b:`c", R"({"a":[1,{"b":"c"}]})"},
      {"{a:[1,", R"({"a":[1]})"},
      {"{a:1]", R"({"a":1})"},
      {"{a:[1}", R"({"a":[1]})"},
      {"{a:,b:1}", R"({"a":null})"},
      {"{a 1}", R"({})"},
      {"{a:`b``c`}", R"({"a":"b"})"},
      {"{a:1 2,b:\"x\"y}", R"({"a":"1 2","b":"x"})"},
      {"{a:\"\\q\"}", R"({"a":""})"},
      {"{a:\"\\u00g0\"}", R"({"a":""})"},
      {"{:1}", "{}"},
      {"{,}", "{}"},
      {"{a:b{c}", R"({"a":null})"},
      {"[1]", "{}"},
  };
  for (const auto& [notation, expected] : kCases)
    EXPECT_EQ(read(notation), (Reading{expected, false})) << notation;
}

TEST(NotationReader, IgnoresWhatFollowsTheObject) {
  EXPECT_EQ(read("{a:1}, and more }}]`"), (Reading{R"({"a":1})", true}));
}

TEST(NotationReader, BoundsDepthAndWords) {
  std::string deep = "{a:";
  deep.append(100'000, '[');
  const Reading reading = read(deep);
  EXPECT_FALSE(reading.whole);
  EXPECT_LT(reading.json.size(), 200U);
  EXPECT_TRUE(json::accept(reading.json));
  const Reading word = read("{a:" + std::string(100'000, 'x') + "}");
  EXPECT_EQ(word, (Reading{R"({"a":null})", false}));
  const Reading key = read("{" + std::string(100'000, 'x') + ":1}");
  EXPECT_EQ(key, (Reading{"{}", false}));
}

TEST(NotationReader, AlwaysEndsInValidJsonAndNeverDependsOnTheCuts) {
  const std::string_view kAlphabet = "{}[]:,``\"\\ \nab1-.eu0tr{}[]:,";
  std::mt19937_64 random(3);
  for (int round = 0; round < 20000; ++round) {
    std::string notation;
    if (random() % 4 != 0) notation = "{a:";
    for (size_t n = random() % 24; n > 0; --n) notation += kAlphabet[random() % kAlphabet.size()];
    if (random() % 8 == 0) notation += "é😀\x01";
    const Reading whole = read(notation);
    EXPECT_TRUE(json::accept(whole.json)) << notation << " -> " << whole.json;
    EXPECT_EQ(json::parse(whole.json).is_object(), true);
    EXPECT_EQ(read(notation, ~uint64_t{0}), whole) << notation;
    EXPECT_EQ(read(notation, random()), whole) << notation;
  }
}

json random_value(std::mt19937& random, int depth) {
  const auto text = [&] {
    const char* kTexts[] = {"",   "x",      "a, b", "}]", "\"quoted\"", "line\nbreak",
                            "é😀", "<|\"|>", "true", "12", " "};
    return std::string(kTexts[random() % std::size(kTexts)]);
  };
  switch (random() % (depth > 3 ? 5 : 7)) {
    case 0: return text();
    case 1: return static_cast<int>(random() % 2000) - 1000;
    case 2: return static_cast<double>(random() % 1000) / 64.0;
    case 3: return random() % 2 == 0;
    case 4: return nullptr;
    case 5: {
      json list = json::array();
      for (size_t n = random() % 4; n > 0; --n) list.push_back(random_value(random, depth + 1));
      return list;
    }
    default: {
      json object = json::object();
      for (size_t n = random() % 4; n > 0; --n)
        object[fmt::format("k{}", random() % 100)] = random_value(random, depth + 1);
      return object;
    }
  }
}

/// Reads what ToolNotation wrote: "KIND:NAME{…}" between two delimiters.
std::pair<std::string, json> read_block(const std::vector<int32_t>& ids, const ChatTokens& tokens) {
  const Tokenizer& tokenizer = testing::tiny_tokenizer();
  NotationReader reader;
  std::string head;
  std::string out;
  std::vector<int32_t> run;
  const auto flush = [&] {
    std::string text = tokenizer.decode(run);
    run.clear();
    if (out.empty() && text.find('{') != std::string::npos && head.empty()) {
      head = text.substr(0, text.find('{'));
      text.erase(0, head.size());
    }
    reader.text(text, out);
  };
  for (size_t i = 1; i + 1 < ids.size(); ++i) {
    if (ids[i] == tokens.quote) {
      flush();
      reader.quote(out);
    } else {
      run.push_back(ids[i]);
    }
  }
  flush();
  EXPECT_TRUE(reader.finish(out)) << out;
  return {head, json::parse(out)};
}

TEST(ToolNotation, WhatItWritesReadsBack) {
  const Tokenizer& tokenizer = testing::tiny_tokenizer();
  const ChatTokens tokens = find_chat_tokens(tokenizer).value();
  std::mt19937 random(9);
  for (int round = 0; round < 500; ++round) {
    json arguments = json::object();
    for (size_t n = random() % 4; n > 0; --n) arguments[fmt::format("key{}", n)] = random_value(random, 0);
    PromptBuilder prompt(tokenizer);
    ToolNotation(prompt, tokens).call({"", "f", arguments});
    EXPECT_EQ(read_block(prompt.take(), tokens), std::pair(std::string("call:f"), arguments));
    ToolNotation(prompt, tokens).result("g", arguments);
    EXPECT_EQ(read_block(prompt.take(), tokens), std::pair(std::string("response:g"), arguments));
  }
}

TEST(ToolNotation, ADeclarationReadsBack) {
  const Tokenizer& tokenizer = testing::tiny_tokenizer();
  const ChatTokens tokens = find_chat_tokens(tokenizer).value();
  PromptBuilder prompt(tokenizer);
  ToolNotation(prompt, tokens).declaration({"f", "Does <|\"|>.", json::parse(R"({"properties": {
          "a": {"type": ["string", "null"], "enum": ["x", "y"], "description": "one of {x, y}"},
          "b": {"type": "array", "items": {"type": ["integer", "null"], "minimum": 1, "default": null}},
          "c": {"type": "object", "d": {"type": "boolean"}, "description": "", "nullable": true},
          "e": true}, "required": ["a", 5]})")});
  const auto [head, value] = read_block(prompt.take(), tokens);
  EXPECT_EQ(head, "declaration:f");
  EXPECT_EQ(value, json::parse(R"({"description": "Does <|\"|>.", "parameters": {"properties": {
      "a": {"description": "one of {x, y}", "enum": ["x", "y"], "nullable": true, "type": "STRING"},
      "b": {"items": {"minimum": 1, "type": ["INTEGER", "NULL"]}, "type": "ARRAY"},
      "c": {"nullable": true, "properties": {"d": {"type": "BOOLEAN"}}, "type": "OBJECT"},
      "e": {"type": ""}}, "required": ["a", "5"], "type": "OBJECT"}})"));
}

}  // namespace
}  // namespace facet::text
