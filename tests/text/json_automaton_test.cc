#include "text/json_automaton.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>
#include <string>

namespace facet::text {
namespace {

/// Bytes accepted, and whether the object was then complete.
std::pair<size_t, bool> run(std::string_view text) {
  JsonAutomaton automaton;
  size_t taken = 0;
  while (taken < text.size() && automaton.push(text[taken])) ++taken;
  return {taken, automaton.complete()};
}

TEST(JsonAutomaton, TakesObjects) {
  for (const char* text :
       {"{}", " {\n}", R"({"a":1})", R"({"a":[]})", R"({"a":[1,-2.5e+10,0,0.1,1E5],"b":{"c":null}})",
        R"({"a":"x\n\"\\\/\u00e9","b":true,"c":false , "d" : [ [ ] , { } ] })",
        "{\"\xC3\xA9\":\"\xF0\x9F\x8C\x8D\"}"}) {
    const auto [taken, complete] = run(text);
    EXPECT_EQ(taken, std::string_view(text).size()) << text;
    EXPECT_TRUE(complete) << text;
  }
}

TEST(JsonAutomaton, RefusesWhatIsNone) {
  for (const char* text : {"[]",
                           "1",
                           "\"a\"",
                           "{]",
                           "{,",
                           "{\"a\"}",
                           "{\"a\" 1",
                           "{\"a\":}",
                           "{\"a\":1,}",
                           "{\"a\":[1,]",
                           "{\"a\":[1}",
                           "{\"a\":01",
                           "{\"a\":-}",
                           "{\"a\":1.}",
                           "{\"a\":1e}",
                           "{\"a\":.5",
                           "{\"a\":+1",
                           "{\"a\":tru}",
                           "{\"a\":nul ",
                           "{\"a\":\"\\x",
                           "{\"a\":\"\\u12g",
                           "{\"a\":\"\n",
                           "{\"a\":\"\xC3(",
                           "{\"a\":\"\xED\xA0\x80",
                           "{\"a\":\"\xC0\x80",
                           "{\"a\":\"\xF5",
                           "{\"a\":\"\x80",
                           "{} ",
                           "{}{",
                           "{a"}) {
    EXPECT_LT(run(text).first, std::string_view(text).size()) << text;
  }
}

TEST(JsonAutomaton, BoundsDepthAndSpaces) {
  std::string deep = "{\"a\":";
  for (int i = 1; i < JsonAutomaton::kMaxDepth; ++i) deep += '[';
  EXPECT_EQ(run(deep).first, deep.size());
  EXPECT_EQ(run(deep + "[").first, deep.size());
  EXPECT_EQ(run("{" + std::string(100, ' ')).first, 1U + JsonAutomaton::kMaxSpaces);
}

// Whatever random bytes it lets through to the end is JSON for a parser, too.
TEST(JsonAutomaton, AgreesWithAParser) {
  std::mt19937 random(2);
  const std::string bytes = "{}[]\",:\\u0012eE+-.truefalsn \n\xC3\xA9\xF0\x9F\x8C\x8D";
  int complete = 0;
  for (int i = 0; i < 20000; ++i) {
    JsonAutomaton automaton;
    std::string text;
    for (int tries = 0; tries < 400 && !automaton.complete(); ++tries) {
      JsonAutomaton next = automaton;
      const char byte = bytes[random() % bytes.size()];
      if (!next.push(byte)) continue;
      automaton = next;
      text += byte;
    }
    if (!automaton.complete()) continue;
    ++complete;
    // A lone surrogate escape is grammatical, but no text: the parser may refuse that alone.
    if (text.find("\\u") != std::string::npos) continue;
    EXPECT_TRUE(nlohmann::json::parse(text, nullptr, false).is_object()) << text;
  }
  EXPECT_GT(complete, 1000);
}

}  // namespace
}  // namespace facet::text
