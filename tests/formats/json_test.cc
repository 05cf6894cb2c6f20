#include "formats/json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "formats/files.h"
#include "formats/ordered_json.h"
#include "support/errors.h"

namespace facet {
namespace {

using testing::expect_bad_input;

std::string repeated(std::string_view text, size_t times) {
  std::string out;
  for (size_t i = 0; i < times; ++i) out += text;
  return out;
}

TEST(ParseJson, BuildsTheDocument) {
  const Json json = parse_json(R"({"a":[1,-2,0.5,true,null,{"b":"x"}],"c":{}})", "d");
  EXPECT_EQ(json.dump(), R"({"a":[1,-2,0.5,true,null,{"b":"x"}],"c":{}})");
  EXPECT_EQ(parse_json("7", "d"), Json(7));
  EXPECT_EQ(parse_json(repeated("[", 64) + repeated("]", 64), "d").dump().size(), 128U);
}

TEST(ParseJson, RefusesWhatPassesALimit) {
  expect_bad_input([] { return parse_json(repeated("[", 65) + repeated("]", 65), "d"); },
                   {"d: bad JSON: nested deeper than 64"});
  expect_bad_input([] { return parse_json(repeated("[", 100'000), "d"); }, {"nested deeper than 64"});
  expect_bad_input([] { return parse_json(repeated("{\"a\":", 3000), "d"); }, {"nested deeper than 64"});
  expect_bad_input([] { return parse_json("[1,2,3]", "d", {.max_values = 3}); }, {"more than 3 values"});
  expect_bad_input([] { return parse_json("[1,2,3]", "d", {.max_bytes = 6}); }, {"at most 6 bytes, got 7"});
}

TEST(ParseJson, RefusesADuplicateKeyUnlessAskedNotTo) {
  constexpr std::string_view kTwice = R"({"a":{"k":1,"k":2}})";
  expect_bad_input([&] { return parse_json(kTwice, "d"); }, {"d: bad JSON: duplicate key \"k\""});
  EXPECT_EQ(parse_json(kTwice, "d", {.unique_keys = false}).dump(), R"({"a":{"k":2}})");
}

TEST(ParseJson, RefusesWhatIsNoJson) {
  expect_bad_input([] { return parse_json("", "d"); }, {"d: bad JSON: parse error at line 1"});
  expect_bad_input([] { return parse_json("{\"a\":", "d"); }, {"unexpected end of input"});
  expect_bad_input([] { return parse_json("{} {}", "d"); }, {"d: bad JSON"});
  expect_bad_input([] { return parse_json("[1e400]", "d"); }, {"number overflow"});
  expect_bad_input([] { return parse_json("[NaN]", "d"); }, {"d: bad JSON"});
  expect_bad_input([] { return parse_json("[\"\xff\xfe\"]", "d"); }, {"d: bad JSON"});
  expect_bad_input([] { return parse_json("\"" + std::string(1 << 20, 'x'), "d"); }, {"d: bad JSON"});
  expect_bad_input([] { return parse_json("[\"a\nb\"]", "d"); }, {"d: bad JSON"});
}

TEST(ParseOrderedMember, KeepsTheOrderOfWhatItFinds) {
  const std::vector<std::string_view> path = {"a", "b"};
  const auto member = [&](std::string_view text, const JsonLimits& limits = {}) {
    return parse_ordered_member(text, "x", path, limits).dump();
  };
  EXPECT_EQ(member(R"({"b":{"b":1},"a":{"a":{"b":2},"b":{"z":[{"y":1,"a":2}],"b":{"b":3}}},"c":{"b":4}})"),
            R"({"z":[{"y":1,"a":2}],"b":{"b":3}})");
  EXPECT_EQ(member(R"({"a":[{"b":1}],"x":[{"a":{"b":2}}]})"), "null");
  EXPECT_EQ(member(R"({"a":{"c":[[]],"b":"text"}})"), R"("text")");
  EXPECT_EQ(member(R"({"a":1})"), "null");
  JsonLimits limits;
  limits.max_members = 2;
  EXPECT_EQ(member(R"({"1":1,"2":2,"3":3,"a":{"b":{"1":1,"2":2}}})", limits), R"({"1":1,"2":2})");
  EXPECT_THROW(member(R"({"a":{"b":{"1":1,"2":2,"3":3}}})", limits), Error);
  EXPECT_THROW(member(R"({"a":{"b":{"1":1,"1":2}}})"), Error);
  EXPECT_THROW(member(R"({"a":{"b":{"1":)"), Error);
}

TEST(JsonView, NamesTheWayExpectedAndGot) {
  const Json json =
      parse_json(R"({"a":{"n":3,"f":0.5,"s":"text","t":true,"z":null,"l":[1,"x"],"big":4294967296}})", "c");
  const JsonView a = JsonView(json, "c").at("a");
  EXPECT_EQ(a.at("n").integer(), 3);
  EXPECT_EQ(a.at("f").number(), 0.5);
  EXPECT_EQ(a.at("s").string(), "text");
  EXPECT_TRUE(a.at("t").boolean());
  EXPECT_EQ(a.at("l").array_size(), 2U);
  EXPECT_EQ(a.find("z").has_value(), false);
  EXPECT_EQ(a.integer_or("z", 5), 5);
  EXPECT_EQ(a.integer_or("absent", 6), 6);
  EXPECT_EQ(a.string_or("s", ""), "text");
  expect_bad_input([&] { return a.at("absent"); }, {"c: a.absent: expected a value, got nothing"});
  expect_bad_input([&] { return a.at("z"); }, {"c: a.z: expected a value, got null"});
  expect_bad_input([&] { return a.at("s").integer(1, 9); },
                   {"c: a.s: expected an integer from 1 to 9, got \"text\""});
  expect_bad_input([&] { return a.at("f").integer(); }, {"got 0.5"});
  expect_bad_input([&] { return a.at("n").integer(4, 9); }, {"expected an integer from 4 to 9, got 3"});
  expect_bad_input([&] { return a.at("big").integer(); }, {"got 4294967296"});
  expect_bad_input([&] { return a.at("l").at(size_t{1}).integer(); }, {"c: a.l[1]: expected an integer"});
  expect_bad_input([&] { return a.at("l").boolean(); }, {"expected true or false, got an array of 2"});
  expect_bad_input([&] { return a.at("n").string(); }, {"expected a string, got 3"});
  expect_bad_input([&] { return a.at("n").at("x"); }, {"c: a.n: expected an object, got 3"});
  expect_bad_input([&] { return a.at("t").number(); }, {"expected a finite number, got true"});
  expect_bad_input([&] { return a.array_size(); }, {"c: a: expected an array, got an object"});
}

}  // namespace
}  // namespace facet
