#include "text/json_automaton.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>
#include <string>

#include "support/json_schema_check.h"

namespace facet::text {
namespace {

using Json = nlohmann::ordered_json;

struct Taken {
  size_t taken = 0;  // bytes accepted
  bool can_end = false;
  bool complete = false;
};

Taken run(const JsonSchema& schema, std::string_view text) {
  JsonAutomaton automaton(schema);
  Taken run;
  while (run.taken < text.size() && automaton.push(text[run.taken])) ++run.taken;
  if (run.taken < text.size()) return run;
  return {run.taken, automaton.can_end(), automaton.complete()};
}

Taken run(const char* schema, std::string_view text) {
  return run(JsonSchema(Json::parse(schema)), text);
}

TEST(JsonAutomaton, TakesObjects) {
  const JsonSchema schema = JsonSchema::any_object();
  for (const char* text : {"{}", "{\n}", "{\n    \"a\": [\n        1,\n        2\n    ]\n}", R"({"a":1})",
                           R"({"a":[]})", R"({"a":[1,-2.5e+10,0,0.1,1E5],"b":{"c":null}})",
                           R"({"a":"x\n\"\\\/\u00e9\uD7ff\uefff","b":true,"c":false, "d": [ [ ], { } ] })",
                           "{\"\xC3\xA9\":\"\xF0\x9F\x8C\x8D\"}"}) {
    EXPECT_EQ(run(schema, text).taken, std::string_view(text).size()) << text;
    EXPECT_TRUE(run(schema, text).complete) << text;
  }
}

TEST(JsonAutomaton, RefusesWhatIsNone) {
  const JsonSchema schema = JsonSchema::any_object();
  for (const char* text : {"[]",
                           "1",
                           "\"a\"",
                           "{]",
                           "{,",
                           "{\"a\"}",
                           "{\"a\" 1",
                           " {",
                           "{\"a\" ",
                           "{\"a\":  ",
                           "{\"a\":1 ,",
                           "{\"a\":}",
                           "{\"a\":1,}",
                           "{\"a\":[1,]",
                           "{\"a\":[,",
                           "{\"a\":[1}",
                           "{\"a\":01",
                           "{\"a\":-}",
                           "{\"a\":1.}",
                           "{\"a\":1e}",
                           "{\"a\":1e100",
                           "{\"a\":.5",
                           "{\"a\":+1",
                           "{\"a\":1234567890123456789",
                           "{\"a\":tru}",
                           "{\"a\":nul ",
                           "{\"a\":\"\\x",
                           "{\"a\":\"\\u12g",
                           "{\"a\":\"\\ud83d",
                           "{\"a\":\"\\uDf00",
                           "{\"a\":\"\n",
                           "{\"a\":\"\xC3(",
                           "{\"a\":\"\xED\xA0\x80",
                           "{\"a\":\"\xC0\x80",
                           "{\"a\":\"\xF5",
                           "{\"a\":\"\x80",
                           "{} ",
                           "{}{",
                           "{a"}) {
    EXPECT_LT(run(schema, text).taken, std::string_view(text).size()) << text;
  }
}

TEST(JsonAutomaton, BoundsDepthAndSpaces) {
  const JsonSchema schema = JsonSchema::any_object();
  std::string deep = "{\"a\":";
  for (int i = 1; i < JsonSchema::kMaxDepth; ++i) deep += '[';
  EXPECT_EQ(run(schema, deep).taken, deep.size());
  EXPECT_EQ(run(schema, deep + "[").taken, deep.size());
  EXPECT_EQ(run(schema, "{" + std::string(100, ' ')).taken, 1U + 1 + JsonAutomaton::kMaxIndent);
}

struct Case {
  const char* schema;
  std::vector<const char*> good;     // complete
  std::vector<const char*> refused;  // at their last byte
};

TEST(JsonAutomaton, FollowsSchemas) {
  const Case cases[] = {
      {R"({"type":"string"})", {R"("")", R"("a\"b")"}, {"1", "n", "{"}},
      {R"({"type":"string","minLength":2,"maxLength":3})",
       {R"("ab")", "\"\xC3\xA9\xF0\x9F\x8C\x8D\"", R"("\n\u0041a")"},
       {R"("a")", R"("abcd)", R"("abc\)"}},
      {R"({"type":"boolean"})", {"true", "false"}, {"n", "tf"}},
      {R"({"type":["null","boolean"]})", {"null", "true"}, {"1", " "}},
      {R"({"const":{"a":[1,"x"]}})", {R"({"a":[1,"x"]})"}, {R"({"a":[2)", R"({"a": )"}},
      {R"({"enum":["a","ab","b",null]})", {R"("a")", R"("ab")", "null"}, {R"("c)", R"("ac)", "t"}},
      {R"({"type":"integer","enum":[1,"1",1.5]})", {"1"}, {"\"", "1."}},
      {R"({"properties":{"a":{"type":"integer"},"b":{},"c":{"type":"string"}},"required":["b"]})",
       {R"({"a":1,"b":2,"c":""})", R"({"b":{}})", R"({ "b": [], "c":"x" })"},
       {R"({})", R"({"c)", R"({"a":1})", R"({"a":")", R"({"a":1.)", R"({"b":1,"a)", R"({"b":1,"d)",
        R"({"b":1,"c":"x",)", "["}},
      {R"({"properties":{"ab":{"type":"integer"}},"additionalProperties":{"type":"string"}})",
       {R"({"ab":1,"x":"y"})", R"({"a":"", "abc":""})", "{\"a\xC3\xA9\":\"\"}"},
       {R"({"ab":")", R"({"ab":1,"ab")", R"({"a":1)", R"({"x":"","ab")", R"({"\)"}},
      {R"({"additionalProperties":{"type":"null"},"required":["k"]})",
       {R"({"k":null,"kk":null})"},
       {"{}", R"({"x)"}},
      {R"({"properties":{"a":false,"q\"":true},"additionalProperties":false})",
       {"{}", R"({"q\"":1})"},
       {R"({"a)"}},
      {R"({"items":{"type":"integer"},"minItems":1,"maxItems":2})",
       {"[1]", "[ -1, 20 ]"},
       {"[]", "[1,2,", "[1.", "{", "[1 ,"}},
      {R"({"items":false,"type":"array"})", {"[]"}, {"[1"}},
      {R"({"type":"array","maxItems":0})", {"[ ]"}, {"[1"}},
      {R"({"anyOf":[{"type":"object","properties":{"kind":{"const":"cat"},"lives":{"type":"integer"}},"required":["kind","lives"]},
                    {"type":"object","properties":{"kind":{"const":"dog"},"name":{"type":"string"}},"required":["kind","name"]}]})",
       {R"({"kind":"cat","lives":9})", R"({"kind":"dog","name":"Rex"})"},
       {R"({"kind":"cat","n)", R"({"kind":"b)", R"({"kind":"dog"})"}},
      {R"({"anyOf":[{"type":"array","items":{"type":"integer"}},{"type":"array","items":{"type":["string","integer"]}}]})",
       {"[]", "[1,2]", R"(["a",1])"},
       {"[n"}},
      {R"({"properties":{"value":{"type":"integer"},"next":{"anyOf":[{"$ref":"#"},{"type":"null"}]}},"required":["value","next"]})",
       {R"({"value":1,"next":{"value":2,"next":null}})"},
       {R"({"value":1,"next":{})", R"({"value":1})"}},
      {R"({"$ref":"#/$defs/a~1b","$defs":{"a/b":{"allOf":[{"$ref":"#/$defs/c"}]},"c":{"type":"null"}}})",
       {"null"},
       {"1"}},
  };
  for (const Case& c : cases) {
    const JsonSchema schema(Json::parse(c.schema));
    for (const char* text : c.good) {
      EXPECT_EQ(run(schema, text).taken, std::string_view(text).size()) << c.schema << ": " << text;
      EXPECT_TRUE(run(schema, text).can_end) << c.schema << ": " << text;
    }
    for (const char* text : c.refused)
      EXPECT_EQ(run(schema, text).taken, std::string_view(text).size() - 1) << c.schema << ": " << text;
  }
}

TEST(JsonAutomaton, NumbersEndWhereNothingFollows) {
  for (const char* schema : {R"({"type":"number"})", R"({"enum":[1,12,-3.5,10]})"}) {
    const Taken one = run(schema, "1");
    EXPECT_TRUE(one.can_end);
    EXPECT_FALSE(one.complete) << "12 may follow";
    EXPECT_TRUE(run(schema, "-3.5").can_end);
    EXPECT_FALSE(run(schema, "-3.").can_end);
  }
  EXPECT_TRUE(run(R"({"enum":[1,12]})", "12").complete);
  EXPECT_EQ(run(R"({"items":{"enum":[1,12]}})", "[1,12,1]").taken, 8U);
}

/// A text that random bytes make of the schema; empty when it does not come to an end soon enough.
std::string random_text(const JsonSchema& schema, std::mt19937& random, std::string_view bytes) {
  JsonAutomaton automaton(schema);
  std::string text;
  while (text.size() < 2000) {
    std::string possible;
    for (const char byte : bytes)
      if (JsonAutomaton next = automaton; next.push(byte)) possible += byte;
    if (automaton.can_end() && (possible.empty() || random() % 4 == 0)) return text;
    if (possible.empty()) {
      ADD_FAILURE() << "a dead end after " << text;
      return {};
    }
    // What closes comes more often than its share.
    const size_t close = possible.find_first_of("]}\"");
    const char byte = close != std::string::npos && random() % 3 == 0 ? possible[close]
                                                                      : possible[random() % possible.size()];
    if (!automaton.push(byte)) {
      ADD_FAILURE() << "refused on second thoughts: " << byte << " after " << text;
      return {};
    }
    text += byte;
  }
  return {};
}

// Whatever it lets through to the end is JSON for a parser, and valid for a checker that knows nothing of it.
TEST(JsonAutomaton, LetsThroughWhatTheSchemaAllows) {
  constexpr std::string_view kBytes = "{}[]\",:\\u0012eE+-.trufalsn \nabcdkx\xC3\xA9\xF0\x9F\x8C\x8D";
  std::mt19937 random(2);
  int complete = 0;
  for (int i = 0; i < 400; ++i) {
    const Json schema = testing::random_schema(random, 3);
    std::unique_ptr<JsonSchema> compiled;
    try {
      compiled = std::make_unique<JsonSchema>(schema);
    } catch (const std::exception&) {
      continue;  // nothing satisfies it
    }
    for (int j = 0; j < 5; ++j) {
      const std::string text = random_text(*compiled, random, kBytes);
      if (text.empty()) continue;
      ++complete;
      const Json value = Json::parse(text, nullptr, /*allow_exceptions=*/false);
      ASSERT_FALSE(value.is_discarded()) << text;
      EXPECT_TRUE(testing::satisfies(value, schema, schema)) << text << "\n" << schema.dump();
    }
  }
  EXPECT_GT(complete, 1000);
}

}  // namespace
}  // namespace facet::text
