// The real Gemma tokenizer against what Hugging Face's library makes of the shared texts.
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "support/gemma3_tokenizer.h"
#include "support/paths.h"
#include "text/stream_decoder.h"
#include "text/tokenizer.h"

namespace facet::text {
namespace {

struct Sample {
  std::string text;
  std::vector<int32_t> ids;
  std::vector<int32_t> ids_no_bos;
  std::string decoded;
};

std::vector<Sample> samples() {
  std::ifstream file(testing::shared_dir() / "tokenizer/gemma3-encodings.jsonl");
  std::vector<Sample> all;
  for (std::string line; std::getline(file, line);) {
    const auto sample = nlohmann::json::parse(line);
    all.push_back({sample.at("text"), sample.at("ids"), sample.at("ids_no_bos"), sample.at("decoded")});
  }
  return all;
}

TEST(SharedTexts, EncodeAndDecodeAsHuggingFaceDoes) {
  const Tokenizer& tokenizer = testing::gemma3_tokenizer();
  const std::vector<Sample> all = samples();
  ASSERT_EQ(all.size(), 664U);
  for (const Sample& sample : all) {
    EXPECT_EQ(tokenizer.encode(sample.text), sample.ids) << sample.text;
    EXPECT_EQ(tokenizer.encode(sample.text, {.add_bos = false}), sample.ids_no_bos) << sample.text;
    EXPECT_EQ(tokenizer.decode(sample.ids_no_bos), sample.decoded) << sample.text;
  }
}

TEST(SharedTexts, StreamToTheSameText) {
  for (const Sample& sample : samples()) {
    StreamDecoder decoder(testing::gemma3_tokenizer());
    std::string text;
    for (const int32_t id : sample.ids_no_bos) text += decoder.push(id);
    text += decoder.flush();
    EXPECT_EQ(text, sample.decoded);
  }
}

}  // namespace
}  // namespace facet::text
