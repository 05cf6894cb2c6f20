#include "text/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "base/error.h"
#include "support/paths.h"
#include "support/tiny_tokenizer.h"

namespace facet::text {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

std::vector<std::string> pieces(const Tokenizer& tokenizer, const std::vector<int32_t>& ids) {
  std::vector<std::string> all;
  all.reserve(ids.size());
  for (const int32_t id : ids) all.emplace_back(tokenizer.token(id));
  return all;
}

TEST(Tokenizer, GivesHuggingFacesIdsAndTextForGemma4sShape) {
  const Tokenizer& tokenizer = testing::tiny_tokenizer();
  std::ifstream file(testing::data_dir() / "text/tiny-encodings.jsonl");
  int count = 0;
  for (std::string line; std::getline(file, line); ++count) {
    const auto sample = nlohmann::json::parse(line);
    const std::string text = sample.at("text");
    const std::vector<int32_t> ids = sample.at("ids");
    EXPECT_EQ(tokenizer.encode(text), ids) << line;
    EXPECT_EQ(tokenizer.encode(text, {.add_bos = false, .parse_special = false}),
              sample.at("ids_special_as_text").get<std::vector<int32_t>>())
        << line;
    EXPECT_EQ(tokenizer.decode(ids), sample.at("decoded").get<std::string>()) << line;
    EXPECT_EQ(tokenizer.decode(ids, {.skip_special = true}),
              sample.at("decoded_without_special").get<std::string>())
        << line;
  }
  EXPECT_EQ(count, 300);
}

TEST(Tokenizer, LooksTokensUp) {
  const Tokenizer& tokenizer = testing::tiny_tokenizer();
  EXPECT_EQ(tokenizer.vocab_size(), 876U);
  EXPECT_EQ(tokenizer.bos_id(), 2);
  EXPECT_EQ(tokenizer.eos_id(), 1);
  EXPECT_EQ(tokenizer.padding_id(), 0);
  EXPECT_EQ(tokenizer.unknown_id(), 3);
  EXPECT_EQ(tokenizer.id("<bos>"), 2);
  EXPECT_EQ(tokenizer.token(2), "<bos>");
  EXPECT_EQ(tokenizer.id("no such piece"), std::nullopt);
  EXPECT_TRUE(tokenizer.is_special(2));
  EXPECT_FALSE(tokenizer.is_special(tokenizer.id("<table>").value()));
  EXPECT_FALSE(tokenizer.is_special(-1));
  EXPECT_FALSE(tokenizer.is_special(876));
  EXPECT_EQ(tokenizer.byte(tokenizer.id("<0x7F>").value()), 0x7F);
  EXPECT_EQ(tokenizer.byte(2), std::nullopt);
  EXPECT_TRUE(tokenizer.contains(875));
  EXPECT_FALSE(tokenizer.contains(876));
  EXPECT_THROW(static_cast<void>(tokenizer.token(876)), Error);
  EXPECT_THROW(static_cast<void>(tokenizer.token(-1)), Error);
}

TEST(Tokenizer, SpellingOfEveryControlTokenStaysTextWhenAsked) {
  const Tokenizer& tokenizer = testing::tiny_tokenizer();
  for (int32_t id = 0; id < static_cast<int32_t>(tokenizer.vocab_size()); ++id) {
    if (!tokenizer.is_special(id)) continue;
    const std::string text = "say " + std::string(tokenizer.token(id)) + " twice";
    const auto ids = tokenizer.encode(text, {.add_bos = false, .parse_special = false});
    for (const int32_t part : ids) EXPECT_FALSE(tokenizer.is_special(part)) << text;
    EXPECT_EQ(tokenizer.decode(ids), text);
    EXPECT_THAT(tokenizer.encode(text), ::testing::Contains(id));
  }
}

TEST(Tokenizer, MergesNeverBuildAControlToken) {
  nlohmann::json file = testing::tiny_tokenizer_json();
  // Room for new pieces: the two added tokens behind the vocabulary are dropped.
  file["added_tokens"].erase(file["added_tokens"].size() - 1);
  file["added_tokens"].erase(file["added_tokens"].size() - 1);
  auto& vocab = file["model"]["vocab"];
  for (const char* piece : {"bo", "<bo", "s>"})
    if (!vocab.contains(piece)) vocab[piece] = vocab.size();
  auto& merges = file["model"]["merges"];
  merges.insert(merges.begin(), {{"b", "o"}, {"<", "bo"}, {"s", ">"}, {"<bo", "s>"}});
  const Tokenizer tokenizer = Tokenizer::from_json(file.dump());
  EXPECT_EQ(tokenizer.encode("<bos>", {.add_bos = false, .parse_special = true}), std::vector<int32_t>{2});
  EXPECT_THAT(pieces(tokenizer, tokenizer.encode("<bos>", {.add_bos = false, .parse_special = false})),
              ElementsAre("<bo", "s>"));
}

TEST(Tokenizer, BytesThatAreNotUtf8BecomeByteTokens) {
  const Tokenizer& tokenizer = testing::tiny_tokenizer();
  const EncodeOptions bare{.add_bos = false};
  EXPECT_THAT(pieces(tokenizer, tokenizer.encode("\x80", bare)), ElementsAre("<0x80>"));
  EXPECT_THAT(pieces(tokenizer, tokenizer.encode("\xBF\xC0\xFF", bare)),
              ElementsAre("<0xBF>", "<0xC0>", "<0xFF>"));
  // A surrogate (U+D800), an overlong slash, a code point over U+10FFFF, an emoji cut short.
  EXPECT_THAT(pieces(tokenizer, tokenizer.encode("\xED\xA0\x80", bare)),
              ElementsAre("<0xED>", "<0xA0>", "<0x80>"));
  EXPECT_THAT(pieces(tokenizer, tokenizer.encode("\xC0\xAF", bare)), ElementsAre("<0xC0>", "<0xAF>"));
  EXPECT_THAT(pieces(tokenizer, tokenizer.encode("\xF4\x90\x80\x80", bare)),
              ElementsAre("<0xF4>", "<0x90>", "<0x80>", "<0x80>"));
  EXPECT_THAT(pieces(tokenizer, tokenizer.encode("\xF0\x9F\x98", bare)),
              ElementsAre("<0xF0>", "<0x9F>", "<0x98>"));
  EXPECT_EQ(tokenizer.decode(tokenizer.encode("a\xF0\x9F\x98z", bare)), "a\uFFFD\uFFFD\uFFFDz");
  EXPECT_THAT(pieces(tokenizer, tokenizer.encode(std::string_view("\0", 1), bare)), ElementsAre("<0x00>"));
  EXPECT_EQ(tokenizer.decode(tokenizer.encode(std::string_view("a\0b", 3), bare)),
            std::string_view("a\0b", 3));
}

TEST(Tokenizer, DecodesIdsOutsideTheVocabularyToNothing) {
  const Tokenizer& tokenizer = testing::tiny_tokenizer();
  const int32_t a = tokenizer.id("a").value();
  EXPECT_EQ(tokenizer.decode(std::vector<int32_t>{a, 876, -1, 2147483647, a}), "aa");
}

TEST(Tokenizer, EncodesAMebibyteOfOneLetterInUnderTwoSeconds) {
  const Tokenizer& tokenizer = testing::tiny_tokenizer();
  for (const char* unit : {"a", " ", "\n", "\x80", "<", "\t"}) {
    const std::string text(size_t{1} << 20U, unit[0]);
    const auto start = std::chrono::steady_clock::now();
    const auto ids = tokenizer.encode(text, {.add_bos = false});
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
    EXPECT_FALSE(ids.empty());
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    EXPECT_LT(elapsed.count(), 2.0) << unit;
#endif
  }
}

/// Merging as the definition says it: look for the best pair from the left, again and again.
std::vector<int32_t> merge_naively(std::vector<int32_t> symbols, const MergeTable& table) {
  for (;;) {
    const MergeTable::Entry* best = nullptr;
    size_t best_at = 0;
    for (size_t i = 0; i + 1 < symbols.size(); ++i) {
      const MergeTable::Entry* rule = table.find(symbols[i], symbols[i + 1]);
      if (rule != nullptr && (best == nullptr || rule->rank < best->rank)) {
        best = rule;
        best_at = i;
      }
    }
    if (best == nullptr) return symbols;
    symbols[best_at] = best->result;
    symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(best_at) + 1);
  }
}

TEST(BpeMerger, AgreesWithTheDefinition) {
  std::mt19937 random(7);
  const auto below = [&](int n) { return static_cast<int32_t>(random() % static_cast<unsigned>(n)); };
  for (int round = 0; round < 500; ++round) {
    // Symbols stand for strings; a rule's result is a new symbol, as no string is spelled in two ways
    // here. Ranks repeat, as SentencePiece scores do.
    std::vector<MergeRule> rules;
    rules.reserve(12);
    int32_t symbols = 4;
    for (int i = 0; i < 12; ++i) rules.push_back({below(symbols), below(symbols), below(6), symbols++});
    const MergeTable table(static_cast<size_t>(symbols), rules);
    std::vector<int32_t> text;
    for (int i = below(40); i > 0; --i) text.push_back(below(4));
    const auto expected = merge_naively(text, table);
    BpeMerger(table).merge(text);
    EXPECT_EQ(text, expected);
  }
}

TEST(MergeTable, OfTwoRulesForAPairTheLaterCounts) {
  const MergeTable table(5, {{0, 1, 0, 3}, {0, 2, 1, 3}, {0, 1, 2, 4}});
  ASSERT_NE(table.find(0, 1), nullptr);
  EXPECT_EQ(table.find(0, 1)->result, 4);
  EXPECT_EQ(table.find(0, 1)->rank, 2);
  EXPECT_EQ(table.find(1, 0), nullptr);
  EXPECT_EQ(table.find(4, 4), nullptr);
}

/// `text` (a normal token each), control tokens, bytes: a vocabulary by scores, as in a Gemma 3 GGUF.
Vocabulary scored_vocabulary(const std::vector<std::pair<std::string, float>>& text) {
  Vocabulary vocabulary;
  vocabulary.source = "test";
  const auto add = [&](std::string piece, TokenType type, float score) {
    vocabulary.pieces.push_back(std::move(piece));
    vocabulary.types.push_back(type);
    vocabulary.scores.push_back(score);
  };
  add("<bos>", TokenType::kControl, 0);
  for (int i = 0; i < 256; ++i) {
    char piece[8];
    std::snprintf(piece, sizeof piece, "<0x%02X>", static_cast<unsigned>(i));
    add(piece, TokenType::kByte, 0);
  }
  for (const auto& [piece, score] : text) add(piece, TokenType::kNormal, score);
  vocabulary.prefix = {0};
  vocabulary.bos = 0;
  return vocabulary;
}

TEST(ScoredTokenizer, MergesThePairWithTheBestScoreLeftmostFirst) {
  const Tokenizer tokenizer(scored_vocabulary(
      {{"a", -10}, {"b", -11}, {"c", -12}, {"▁", -13}, {"ab", -2}, {"bc", -1}, {"aa", -3}, {"▁ab", -4}}));
  const auto encode = [&](std::string_view text) {
    return pieces(tokenizer, tokenizer.encode(text, {.add_bos = false}));
  };
  EXPECT_THAT(encode("abc"), ElementsAre("a", "bc"));  // bc scores better than ab
  EXPECT_THAT(encode("aaa"), ElementsAre("aa", "a"));  // equals from the left
  EXPECT_THAT(encode(" ab"), ElementsAre("▁ab"));      // ab first, then ▁ab
  EXPECT_THAT(encode("é"), ElementsAre("<0xC3>", "<0xA9>"));
  EXPECT_EQ(tokenizer.encode("a")[0], 0);
  EXPECT_EQ(tokenizer.decode(tokenizer.encode(" ab é", {.add_bos = false})), " ab é");
}

TEST(ScoredTokenizer, AddsASpacePrefixWhenTheVocabularySaysSo) {
  Vocabulary vocabulary = scored_vocabulary({{"a", -1}, {"▁", -2}, {"▁a", 0}});
  vocabulary.add_space_prefix = true;
  vocabulary.strip_leading_spaces = 1;
  const Tokenizer tokenizer(std::move(vocabulary));
  EXPECT_THAT(pieces(tokenizer, tokenizer.encode("a")), ElementsAre("<bos>", "▁a"));
  EXPECT_THAT(pieces(tokenizer, tokenizer.encode("a<bos>a")), ElementsAre("<bos>", "▁a", "<bos>", "▁a"));
  EXPECT_THAT(tokenizer.encode("", {.add_bos = false}), IsEmpty());
  EXPECT_EQ(tokenizer.decode(tokenizer.encode("a a", {.add_bos = false})), "a a");
  EXPECT_EQ(tokenizer.decode(tokenizer.encode("  a", {.add_bos = false})), "  a");
}

TEST(ScoredTokenizer, RefusesBadScores) {
  Vocabulary nan = scored_vocabulary({{"a", std::numeric_limits<float>::quiet_NaN()}});
  EXPECT_THROW(Tokenizer{std::move(nan)}, Error);
  Vocabulary few = scored_vocabulary({{"a", 0}});
  few.scores.pop_back();
  EXPECT_THROW(Tokenizer{std::move(few)}, Error);
  Vocabulary wide = scored_vocabulary({{std::string(1000, 'a'), 0}});
  EXPECT_THROW(Tokenizer{std::move(wide)}, Error);
}

}  // namespace
}  // namespace facet::text
