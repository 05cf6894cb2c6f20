#include "text/json_schema.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/error.h"

namespace facet::text {
namespace {

using Json = nlohmann::ordered_json;
using ::testing::HasSubstr;

std::string refusal(const Json& schema) {
  try {
    const JsonSchema compiled(schema);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kBadInput);
    return error.what();
  }
  return "accepted";
}

std::string refusal(const char* schema) {
  return refusal(Json::parse(schema));
}

TEST(JsonSchema, SaysWhatIsNotSupportedAndWhere) {
  EXPECT_EQ(refusal(R"({"type":"object","properties":{"a":{"type":"string","pattern":"x"}}})"),
            "properties.\"a\".\"pattern\": this keyword is not supported");
  for (const char* keyword :
       {"format", "minimum", "oneOf", "not", "if", "patternProperties", "uniqueItems", "$anchor"})
    EXPECT_THAT(refusal(Json{{keyword, 1}}), HasSubstr("this keyword is not supported")) << keyword;
  EXPECT_THAT(refusal(R"({"anyOf":[{"type":"string"}],"type":"string"})"),
              HasSubstr("not supported next to anyOf"));
  EXPECT_THAT(refusal(R"({"$ref":"#/$defs/a","anyOf":[true],"$defs":{"a":true}})"),
              HasSubstr("not supported next to"));
  EXPECT_THAT(refusal(R"({"enum":["a"],"minLength":1})"), HasSubstr("next to type only"));
  EXPECT_THAT(refusal(R"({"allOf":[true,true]})"), HasSubstr("allOf: supported with one schema only"));
  EXPECT_THAT(refusal(R"({"properties":{"a":{"$id":"x"}}})"), HasSubstr("not supported"));
}

TEST(JsonSchema, RefusesWhatIsNone) {
  for (const auto& [schema, message] : std::vector<std::pair<const char*, const char*>>{
           {"[]", "expected a schema"},
           {R"({"type":"text"})", "type: expected string, number"},
           {R"({"type":5})", "type: expected string, number"},
           {R"({"type":["string",null]})", "type: expected string, number"},
           {R"({"properties":[]})", "properties: expected an object"},
           {R"({"properties":{"a":1}})", "properties.\"a\": expected a schema"},
           {R"({"required":"a"})", "required: expected an array of names"},
           {R"({"required":[1]})", "required: expected an array of names"},
           {R"({"minItems":-1})", "minItems: expected an integer from 0"},
           {R"({"maxItems":65535})", "maxItems: expected an integer from 0"},
           {R"({"minLength":1.5})", "minLength: expected an integer from 0"},
           {R"({"maxLength":18446744073709551615})", "maxLength: expected an integer from 0"},
           {R"({"enum":[]})", "enum: expected an array of 1"},
           {R"({"enum":{}})", "enum: expected an array of 1"},
           {R"({"enum":[1],"const":1})", "exclude each other"},
           {R"({"anyOf":[]})", "anyOf: expected an array of schemas"},
           {R"({"anyOf":[1]})", "anyOf[0]: expected a schema"},
           {R"({"$ref":"#/$defs/a"})", "$ref: \"#/$defs/a\" leads nowhere"},
           {R"({"$ref":"#x"})", "leads nowhere"},
           {R"({"$ref":"#/~9"})", "leads nowhere"},
           {R"({"$ref":"other.json"})", "expected a pointer into the same schema"},
           {R"({"$ref":1})", "expected a pointer into the same schema"}})
    EXPECT_THAT(refusal(schema), HasSubstr(message)) << schema;
}

TEST(JsonSchema, RefusesWhatNothingSatisfies) {
  for (const char* schema :
       {"false", R"({"$ref":"#"})", R"({"anyOf":[{"$ref":"#"},false]})",
        R"({"properties":{"a":{"$ref":"#"}},"required":["a"]})", R"({"minItems":1,"items":{"$ref":"#"}})",
        R"({"minItems":1,"items":false})", R"({"minItems":2,"maxItems":1})",
        R"({"minLength":2,"maxLength":1})", R"({"type":"string","enum":[1]})",
        R"({"properties":{},"required":["a"]})", R"({"additionalProperties":false,"required":["a"]})"})
    EXPECT_THAT(refusal(schema), HasSubstr("no value of at most 32 levels satisfies it")) << schema;
  EXPECT_EQ(refusal(R"({"properties":{"a":{"anyOf":[{"$ref":"#"},{"type":"null"}]}},"required":["a"]})"),
            "accepted");
}

TEST(JsonSchema, BoundsItsSize) {
  Json deep = true;
  for (int i = 0; i < 33; ++i) deep = {{"minItems", 1}, {"items", deep}};
  EXPECT_THAT(refusal(deep), HasSubstr("no value of at most 32 levels"));
  EXPECT_EQ(refusal(deep.at("items")), "accepted");

  Json chain = {{"$ref", "#/$defs/s0"}, {"$defs", Json::object()}};
  for (int i = 0; i < 5000; ++i)
    chain["$defs"][fmt::format("s{}", i)] = {{"$ref", fmt::format("#/$defs/s{}", i + 1)}};
  EXPECT_THAT(refusal(chain), HasSubstr("more than 4096 schemas"));

  Json wide = {{"anyOf", Json::array()}};
  for (int i = 0; i < 33; ++i) wide["anyOf"].push_back({{"const", i}});
  EXPECT_THAT(refusal(wide), HasSubstr("anyOf: expected at most 32 schemas, got 33"));
  Json nested = {{"anyOf", Json::array()}};
  for (int i = 0; i < 9; ++i) nested["anyOf"].push_back(true);
  EXPECT_EQ(refusal(nested), "accepted") << "the same value over and over";
  nested["anyOf"] = {Json{{"anyOf", Json::array()}}, Json{{"anyOf", Json::array()}}};
  for (int i = 0; i < 34; ++i) nested["anyOf"][static_cast<size_t>(i % 2)]["anyOf"].push_back({{"const", i}});
  EXPECT_THAT(refusal(nested), HasSubstr("more than 32 forms of one value"));
}

}  // namespace
}  // namespace facet::text
