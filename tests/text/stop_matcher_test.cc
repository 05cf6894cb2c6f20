#include "text/stop_matcher.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "base/error.h"

namespace facet::text {
namespace {

struct Outcome {
  std::string text;
  std::optional<size_t> matched;
  bool operator==(const Outcome&) const = default;
};

/// The first stop string to be complete, the longest of those that end together.
Outcome stop_naively(const std::string& text, const std::vector<std::string>& stops) {
  for (size_t end = 1; end <= text.size(); ++end) {
    std::optional<size_t> best;
    for (size_t i = 0; i < stops.size(); ++i)
      if (text.substr(0, end).ends_with(stops[i]) && (!best || stops[i].size() > stops[*best].size()))
        best = i;
    if (best) return {text.substr(0, end - stops[*best].size()), best};
  }
  return {text, std::nullopt};
}

Outcome stream(const std::vector<std::string>& parts, const std::vector<std::string>& stops) {
  StopMatcher matcher(stops);
  Outcome outcome;
  for (const std::string& part : parts) outcome.text += matcher.push(part);
  outcome.text += matcher.flush();
  outcome.matched = matcher.matched();
  return outcome;
}

TEST(StopMatcher, PassesTextThroughWithoutStopStrings) {
  StopMatcher matcher;
  EXPECT_EQ(matcher.push("any text"), "any text");
  EXPECT_EQ(matcher.flush(), "");
  EXPECT_EQ(matcher.matched(), std::nullopt);
}

TEST(StopMatcher, HoldsBackOnlyWhatMayBecomeAStopString) {
  StopMatcher matcher({"</end>", "STOP"});
  EXPECT_EQ(matcher.push("one <"), "one ");
  EXPECT_EQ(matcher.push("/e"), "");
  EXPECT_EQ(matcher.push("m> S"), "</em> ");
  EXPECT_EQ(matcher.push("T"), "");
  EXPECT_EQ(matcher.push("OP it"), "");
  EXPECT_EQ(matcher.matched(), 1U);
  EXPECT_EQ(matcher.push("more"), "");
  EXPECT_EQ(matcher.flush(), "");
}

TEST(StopMatcher, FlushGivesWhatWasHeldBack) {
  StopMatcher matcher({"abc"});
  EXPECT_EQ(matcher.push("xab"), "x");
  EXPECT_EQ(matcher.flush(), "ab");
  EXPECT_EQ(matcher.push("c"), "c");  // a new stream: no trace of the old one
}

TEST(StopMatcher, ResetForgetsTheMatch) {
  StopMatcher matcher({"ab"});
  EXPECT_EQ(matcher.push("ab"), "");
  matcher.reset();
  EXPECT_EQ(matcher.matched(), std::nullopt);
  EXPECT_EQ(matcher.push("b"), "b");
}

TEST(StopMatcher, NeverCutsACodePoint) {
  StopMatcher matcher({"é!"});
  EXPECT_EQ(matcher.push("café"), "caf");
  EXPECT_EQ(matcher.push("s"), "és");
}

TEST(StopMatcher, RefusesEmptyAndMalformedStopStrings) {
  EXPECT_THROW(StopMatcher({"a", ""}), Error);
  EXPECT_THROW(StopMatcher({"\x80"}), Error);
}

TEST(StopMatcher, GivesTheSameOnEverySplit) {
  std::mt19937 random(5);
  const auto word = [&](size_t longest) {
    std::string text(random() % longest + 1, ' ');
    for (char& c : text) c = static_cast<char>('a' + random() % 2);
    return text;
  };
  for (int round = 0; round < 2000; ++round) {
    const std::string text = word(14);
    std::vector<std::string> stops(random() % 3 + 1);
    std::generate(stops.begin(), stops.end(), [&] { return word(5); });
    const Outcome expected = stop_naively(text, stops);
    // Every split of the text: bit i of the mask cuts after byte i.
    const uint32_t splits = text.size() <= 8 ? 1U << (text.size() - 1) : 64;
    for (uint32_t n = 0; n < splits; ++n) {
      const auto mask = text.size() <= 8 ? n : static_cast<uint32_t>(random());
      std::vector<std::string> parts(1);
      for (size_t i = 0; i < text.size(); ++i) {
        parts.back() += text[i];
        if ((mask >> i & 1U) != 0) parts.emplace_back();
      }
      EXPECT_EQ(stream(parts, stops), expected) << text;
    }
  }
}

}  // namespace
}  // namespace facet::text
