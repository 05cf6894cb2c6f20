#include "formats/gguf_vocabulary.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fmt/format.h>

#include "formats/checkpoint_tokenizer.h"
#include "formats/files.h"
#include "formats/gguf_export.h"
#include "support/errors.h"

namespace facet {
namespace {

using testing::expect_bad_input;
using testing::TemporaryDirectory;
using text::TokenType;

/// The 256 byte tokens, a few pieces and their merges.
text::Vocabulary small_vocabulary() {
  text::Vocabulary v;
  const auto add = [&](std::string piece, TokenType type) {
    v.pieces.push_back(std::move(piece));
    v.types.push_back(type);
    return static_cast<int32_t>(v.pieces.size()) - 1;
  };
  v.padding = add("<pad>", TokenType::kControl);
  v.eos = add("<eos>", TokenType::kControl);
  v.bos = add("<bos>", TokenType::kControl);
  v.unknown = add("<unk>", TokenType::kUnknown);
  for (int byte = 0; byte < 256; ++byte) add(fmt::format("<0x{:02X}>", byte), TokenType::kByte);
  const int32_t a = add("a", TokenType::kNormal);
  const int32_t b = add("b", TokenType::kNormal);
  const int32_t space = add("▁", TokenType::kNormal);
  const int32_t ab = add("ab", TokenType::kNormal);
  add("▁ab", TokenType::kNormal);
  v.merges = {{a, b}, {space, ab}};
  v.prefix = {*v.bos};
  v.split_newlines = true;
  return v;
}

GgufFile file_of(const std::filesystem::path& path, const GgufPairs& pairs) {
  GgufWriter(path, pairs, {}).finish();
  return GgufFile(path);
}

TEST(GgufVocabulary, IsWhatWasWritten) {
  const TemporaryDirectory directory;
  const text::Vocabulary original = small_vocabulary();
  GgufPairs pairs;
  add_vocabulary(original, pairs);
  const auto read = gguf_vocabulary(file_of(directory / "v.gguf", pairs));
  ASSERT_TRUE(read);
  EXPECT_EQ(read->pieces, original.pieces);
  EXPECT_EQ(read->types, original.types);
  ASSERT_EQ(read->merges.size(), 2U);
  EXPECT_EQ(read->merges[1].left, original.merges[1].left);
  EXPECT_EQ(read->merges[1].right, original.merges[1].right);
  EXPECT_TRUE(read->scores.empty());
  EXPECT_EQ(read->prefix, original.prefix);
  EXPECT_TRUE(read->suffix.empty());
  EXPECT_EQ(read->bos, original.bos);
  EXPECT_EQ(read->unknown, original.unknown);
  EXPECT_TRUE(read->split_newlines);
  EXPECT_FALSE(read->add_space_prefix);
  const text::Tokenizer tokenizer = open_tokenizer_file(directory / "v.gguf");
  EXPECT_EQ(tokenizer.encode("ab ab"), (std::vector<int32_t>{2, 263, 264}));
}

TEST(GgufVocabulary, ReadsScores) {
  const TemporaryDirectory directory;
  text::Vocabulary original = small_vocabulary();
  original.merges.clear();
  original.scores.assign(original.pieces.size(), -1.0F);
  original.add_space_prefix = true;
  GgufPairs pairs;
  add_vocabulary(original, pairs);
  const auto read = gguf_vocabulary(file_of(directory / "v.gguf", pairs));
  ASSERT_TRUE(read);
  EXPECT_EQ(read->scores, original.scores);
  EXPECT_TRUE(read->merges.empty());
  EXPECT_FALSE(read->split_newlines);
  EXPECT_TRUE(read->add_space_prefix);
}

TEST(GgufVocabulary, IsAbsentFromAFileWithoutOne) {
  const TemporaryDirectory directory;
  EXPECT_FALSE(gguf_vocabulary(file_of(directory / "v.gguf", {})));
  expect_bad_input([&] { return open_tokenizer_file(directory / "v.gguf"); },
                   {"v.gguf: expected a tokenizer, got a file without one"});
}

TEST(GgufVocabulary, RefusesListsThatDoNotFit) {
  const TemporaryDirectory directory;
  int files = 0;
  const auto refuses = [&](const GgufPairs& pairs, const std::string& says) {
    const auto path = directory / fmt::format("v{}", files++);
    expect_bad_input([&] { return gguf_vocabulary(file_of(path, pairs)); }, {says});
  };
  const std::vector<std::string> tokens = {"a", "b", "ab"};
  const std::vector<int32_t> types = {1, 1, 1};
  GgufPairs model;
  model.add("tokenizer.ggml.model", "gpt2");
  refuses(model, "tokenizer.ggml.model: expected gemma4 or llama, got \"gpt2\"");

  GgufPairs base;
  base.add("tokenizer.ggml.model", "gemma4");
  refuses(base, "tokenizer.ggml.tokens: expected 1 to 16777216 tokens, got 0");
  base.add("tokenizer.ggml.tokens", tokens);
  refuses(base, "tokenizer.ggml.token_type: expected a value, got nothing");
  {
    GgufPairs bad = base;
    bad.add("tokenizer.ggml.token_type", std::vector<int32_t>{1, 1});
    refuses(bad, "tokenizer.ggml.token_type: expected 3 integers, got an array of 2 i32");
  }
  {
    GgufPairs bad = base;
    bad.add("tokenizer.ggml.token_type", std::vector<int32_t>{1, 1, 7});
    refuses(bad, "tokenizer.ggml.token_type: expected an integer from 1 to 6, got 7");
  }
  base.add("tokenizer.ggml.token_type", types);
  refuses(base, "tokenizer.ggml.merges: expected 1 to 67108864 merges, got 0");
  for (const char* merge : {"a c", "ab", "", " ", "a  b"}) {
    GgufPairs bad = base;
    bad.add("tokenizer.ggml.merges", std::vector<std::string>{"a b", merge});
    refuses(bad, "tokenizer.ggml.merges[1]: expected two tokens of the vocabulary, got \"");
  }
  {
    GgufPairs bad = base;
    bad.add("tokenizer.ggml.merges", std::vector<std::string>{"a b"});
    bad.add("tokenizer.ggml.bos_token_id", uint32_t{3});
    refuses(bad, "tokenizer.ggml.bos_token_id: expected an integer from 0 to 2, got 3");
  }
  GgufPairs scores;
  scores.add("tokenizer.ggml.model", "llama");
  scores.add("tokenizer.ggml.tokens", tokens);
  scores.add("tokenizer.ggml.token_type", types);
  refuses(scores, "tokenizer.ggml.scores: expected a value, got nothing");
  scores.add("tokenizer.ggml.scores", std::vector<float>{1, 2});
  refuses(scores, "tokenizer.ggml.scores: expected 3 f32, got an array of 2 f32");
}

}  // namespace
}  // namespace facet
