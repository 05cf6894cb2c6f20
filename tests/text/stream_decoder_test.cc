#include "text/stream_decoder.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "support/tiny_tokenizer.h"
#include "text/utf8.h"

namespace facet::text {
namespace {

std::vector<int32_t> byte_tokens(std::string_view bytes) {
  std::vector<int32_t> ids;
  for (const char byte : bytes) {
    char piece[8];
    std::snprintf(piece, sizeof piece, "<0x%02X>", static_cast<unsigned>(static_cast<unsigned char>(byte)));
    ids.push_back(testing::tiny_tokenizer().id(piece).value());
  }
  return ids;
}

/// Decoding by its definition: all bytes first, then U+FFFD for each byte that is in no code point. Byte
/// tokens never join with the text of other tokens.
std::string decode_naively(const std::vector<int32_t>& ids, bool skip_special) {
  const Tokenizer& tokenizer = testing::tiny_tokenizer();
  std::string text;
  std::string run;
  const auto end_run = [&] {
    for (std::string_view rest = run; !rest.empty();) {
      const size_t length = code_point_length(rest);
      text += length == 0 ? kReplacementCharacter : rest.substr(0, length);
      rest.remove_prefix(length == 0 ? 1 : length);
    }
    run.clear();
  };
  for (const int32_t id : ids) {
    if (skip_special && tokenizer.is_special(id)) continue;
    if (const auto byte = tokenizer.byte(id)) {
      run += static_cast<char>(*byte);
      continue;
    }
    end_run();
    for (std::string_view rest = tokenizer.token(id); !rest.empty();) {
      const bool marker = rest.starts_with("▁");
      text += marker ? ' ' : rest[0];
      rest.remove_prefix(marker ? 3 : 1);
    }
  }
  end_run();
  return text;
}

TEST(StreamDecoder, HoldsAnEmojiBackUntilItIsWhole) {
  StreamDecoder decoder(testing::tiny_tokenizer());
  const auto ids = byte_tokens("😀!");
  EXPECT_EQ(decoder.push(ids[0]), "");
  EXPECT_EQ(decoder.push(ids[1]), "");
  EXPECT_EQ(decoder.push(ids[2]), "");
  EXPECT_EQ(decoder.push(ids[3]), "😀");
  EXPECT_EQ(decoder.push(ids[4]), "!");
  EXPECT_EQ(decoder.flush(), "");
}

TEST(StreamDecoder, ReplacesEachByteThatBelongsToNoCodePoint) {
  const auto decode = [](std::string_view bytes) {
    return testing::tiny_tokenizer().decode(byte_tokens(bytes));
  };
  EXPECT_EQ(decode("\x80"), "\uFFFD");
  EXPECT_EQ(decode("\xF0\x9F\x98"), "\uFFFD\uFFFD\uFFFD");
  EXPECT_EQ(decode("\xF0\x9F"
                   "a"),
            "\uFFFD\uFFFDa");
  EXPECT_EQ(decode("\xE2\xE2\x82\xAC"), "\uFFFD€");
  EXPECT_EQ(decode("\xF0\xF0\x9F\x98\x80\xC3"), "\uFFFD😀\uFFFD");
  EXPECT_EQ(decode("\xED\xA0\x80"), "\uFFFD\uFFFD\uFFFD");
}

TEST(StreamDecoder, FlushEndsAStreamAndStartsTheNext) {
  StreamDecoder decoder(testing::tiny_tokenizer());
  const auto ids = byte_tokens("é");
  EXPECT_EQ(decoder.push(ids[0]), "");
  EXPECT_EQ(decoder.flush(), "\uFFFD");
  EXPECT_EQ(decoder.flush(), "");
  EXPECT_EQ(decoder.push(ids[1]), "\uFFFD");
  EXPECT_EQ(decoder.push(ids[0]), "");
  EXPECT_EQ(decoder.push(ids[1]), "é");
}

TEST(StreamDecoder, GivesWellFormedPiecesThatAddUpToTheWholeText) {
  const Tokenizer& tokenizer = testing::tiny_tokenizer();
  const auto bytes = byte_tokens("\x41\x80\xBF\xC3\xA9\xE2\x82\xAC\xED\xA0\xF0\x9F\x98\x80\xF4\x90\xFF");
  std::mt19937 random(11);
  for (int round = 0; round < 3000; ++round) {
    std::vector<int32_t> ids(random() % 24);
    for (int32_t& id : ids)
      id = random() % 4 != 0 ? bytes[random() % bytes.size()]
                             : static_cast<int32_t>(random() % tokenizer.vocab_size());
    for (const bool skip_special : {false, true}) {
      StreamDecoder decoder(tokenizer, {.skip_special = skip_special});
      std::string text;
      for (const int32_t id : ids) {
        const std::string_view piece = decoder.push(id);
        EXPECT_TRUE(is_utf8(piece));
        text += piece;
      }
      text += decoder.flush();
      EXPECT_EQ(text, decode_naively(ids, skip_special));
      EXPECT_EQ(text, tokenizer.decode(ids, {.skip_special = skip_special}));
    }
  }
}

}  // namespace
}  // namespace facet::text
