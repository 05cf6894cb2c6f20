#include "text/tokenizer_json_export.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <random>

#include "support/gemma3_tokenizer.h"
#include "support/paths.h"
#include "support/tiny_tokenizer.h"
#include "text/tokenizer.h"
#include "text/tokenizer_json.h"

namespace facet::text {
namespace {

void expect_same(const Vocabulary& a, const Vocabulary& b) {
  EXPECT_EQ(a.pieces, b.pieces);
  EXPECT_EQ(a.types, b.types);
  EXPECT_EQ(a.normalized, b.normalized);
  ASSERT_EQ(a.merges.size(), b.merges.size());
  for (size_t i = 0; i < a.merges.size(); ++i) {
    ASSERT_EQ(a.merges[i].left, b.merges[i].left) << i;
    ASSERT_EQ(a.merges[i].right, b.merges[i].right) << i;
  }
  EXPECT_EQ(a.escape_spaces, b.escape_spaces);
  EXPECT_EQ(a.add_space_prefix, b.add_space_prefix);
  EXPECT_EQ(a.split_newlines, b.split_newlines);
  EXPECT_EQ(a.strip_leading_spaces, b.strip_leading_spaces);
  EXPECT_EQ(a.prefix, b.prefix);
  EXPECT_EQ(a.suffix, b.suffix);
  EXPECT_EQ(a.bos, b.bos);
  EXPECT_EQ(a.eos, b.eos);
  EXPECT_EQ(a.unknown, b.unknown);
  EXPECT_EQ(a.padding, b.padding);
}

TEST(TokenizerJsonExport, ReadsBackAsTheSameVocabulary) {
  Vocabulary v = read_tokenizer_json(testing::tiny_tokenizer_json().dump(), "tiny");
  expect_same(read_tokenizer_json(tokenizer_json(v), "written"), v);
  v.add_space_prefix = true;
  v.strip_leading_spaces = 1;
  v.split_newlines = false;
  v.suffix = {1};
  expect_same(read_tokenizer_json(tokenizer_json(v), "written"), v);
  v.prefix.clear();
  v.suffix.clear();
  expect_same(read_tokenizer_json(tokenizer_json(v), "written"), v);
}

TEST(TokenizerJsonExport, ReadsBackGemma3s) {
  const Vocabulary v = read_tokenizer_json(testing::gemma3_tokenizer_json(), "gemma3");
  expect_same(read_tokenizer_json(tokenizer_json(v), "written"), v);
}

/// Letters, and pieces of them whose scores are all different.
Vocabulary scored_vocabulary(unsigned seed) {
  Vocabulary v;
  v.source = "scored";
  const auto add = [&](std::string piece, TokenType type, float score) {
    v.pieces.push_back(std::move(piece));
    v.types.push_back(type);
    v.scores.push_back(score);
  };
  add("<unk>", TokenType::kUnknown, 0);
  add("<bos>", TokenType::kControl, 0);
  for (int byte = 0; byte < 256; ++byte) add(fmt::format("<0x{:02X}>", byte), TokenType::kByte, 0);
  for (const char* letter : {"a", "b", "c", "▁"}) add(letter, TokenType::kNormal, -1000);
  std::mt19937 random(seed);
  float score = -1;
  for (int i = 0; i < 60; ++i) {
    // Two pieces joined: its merge exists.
    const size_t first = v.pieces.size() - 1 - random() % std::min<size_t>(v.pieces.size() - 258, 30);
    const size_t second = v.pieces.size() - 1 - random() % std::min<size_t>(v.pieces.size() - 258, 30);
    const std::string piece = v.pieces[first] + v.pieces[second];
    if (piece.size() < 12 && std::ranges::find(v.pieces, piece) == v.pieces.end())
      add(piece, TokenType::kNormal, score -= 1 + static_cast<float>(random() % 100) / 101);
  }
  v.bos = 1;
  v.prefix = {1};
  v.unknown = 0;
  return v;
}

TEST(TokenizerJsonExport, ScoresBecomeMergesThatGiveTheSameIds) {
  for (unsigned seed = 0; seed < 20; ++seed) {
    const Vocabulary scored = scored_vocabulary(seed);
    ASSERT_GT(scored.pieces.size(), 280U);
    const std::string written = tokenizer_json(scored);
    const Tokenizer by_score(scored);
    const Tokenizer by_rank = Tokenizer::from_json(written, "written");
    std::mt19937 random(seed);
    for (int i = 0; i < 200; ++i) {
      std::string text;
      for (int n = 0; n < 30; ++n) text += "abcabc ab\n"[random() % 10];
      ASSERT_EQ(by_rank.encode(text), by_score.encode(text)) << text;
    }
  }
}

}  // namespace
}  // namespace facet::text
