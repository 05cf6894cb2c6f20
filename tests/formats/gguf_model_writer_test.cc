#include "formats/gguf_model_writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "formats/checkpoint_tokenizer.h"
#include "formats/files.h"
#include "formats/gguf.h"
#include "formats/gguf_export.h"
#include "formats/gguf_vocabulary.h"
#include "formats/hf_config.h"
#include "formats/safetensors.h"
#include "formats/same_model.h"
#include "quant/dequantize.h"
#include "support/errors.h"
#include "support/gemma3_tokenizer.h"
#include "support/tiny_model.h"
#include "text/tokenizer_json.h"

namespace facet {
namespace {

namespace fs = std::filesystem;
using testing::golden;
using ::testing::HasSubstr;
using testing::TemporaryDirectory;

struct Case {
  const char* golden;
  GgufFileType type;
};

class GgufModelWriter : public ::testing::TestWithParam<Case> {};

double limit(Encoding encoding) {
  switch (encoding) {
    case Encoding::kF16: return 1e-3;
    case Encoding::kQ8_0: return 0.01;
    default: return 0.15;
  }
}

TEST_P(GgufModelWriter, IsTheSameModel) {
  const Checkpoint original = open_checkpoint(golden(GetParam().golden).string());
  const TemporaryDirectory directory;
  write_gguf(original, directory / "m.gguf", {GetParam().type, 2, {}});
  const Checkpoint written = open_checkpoint((directory / "m.gguf").string());
  testing::expect_same_spec(written.spec, original.spec);
  EXPECT_EQ(written.tokenizer_file, std::nullopt) << "the golden has none";
  for (const WeightRow& row : weight_table(original.spec)) {
    if (testing::is_vector(row)) {
      EXPECT_EQ(written.weights->vector(row.name), original.weights->vector(row.name)) << row.name;
      continue;
    }
    const MatrixView a = written.weights->matrix(row.name).value();
    const MatrixView b = original.weights->matrix(row.name).value();
    const bool whole = row.cols % 32 == 0;
    if (GetParam().type == GgufFileType::kF16 || !whole) {
      EXPECT_EQ(a.encoding, Encoding::kF16) << row.name;
    }
    if (GetParam().type == GgufFileType::kQ4_0 && whole) {
      const bool sensitive = row.name.find("embed_tokens") != std::string::npos ||
                             row.name.find("per_layer") != std::string::npos;
      EXPECT_EQ(a.encoding, sensitive ? Encoding::kQ8_0 : Encoding::kQ4_0) << row.name;
    }
    std::vector<float> x(static_cast<size_t>(a.cols));
    std::vector<float> y(x.size());
    double error = 0;
    double norm = 0;
    for (int64_t r = 0; r < a.rows; ++r) {
      dequantize_row(a, r, x.data());
      dequantize_row(b, r, y.data());
      for (size_t i = 0; i < x.size(); ++i) {
        error += std::pow(static_cast<double>(x[i]) - static_cast<double>(y[i]), 2);
        norm += std::pow(static_cast<double>(y[i]), 2);
      }
    }
    EXPECT_LE(std::sqrt(error / norm), limit(a.encoding)) << row.name;
  }
}

std::string case_name(const ::testing::TestParamInfo<Case>& info) {
  std::string text = info.param.golden;
  std::ranges::replace(text, '-', '_');
  const char* types[] = {"F16", "Q8", "Q4"};
  return text + types[static_cast<int>(info.param.type)];
}

INSTANTIATE_TEST_SUITE_P(
    Goldens, GgufModelWriter,
    ::testing::Values(Case{"tiny-e2b", GgufFileType::kF16}, Case{"tiny-e4b", GgufFileType::kQ8_0},
                      Case{"tiny-31b", GgufFileType::kQ4_0}, Case{"tiny-26b-a4b", GgufFileType::kF16},
                      Case{"tiny-26b-a4b", GgufFileType::kQ8_0}, Case{"real-heads", GgufFileType::kQ4_0}),
    case_name);

TEST(GgufModelWriter, StoresTheEmbeddingInFourBitsWhenAsked) {
  const TemporaryDirectory directory;
  write_gguf(open_checkpoint(golden("real-heads").string()), directory / "m.gguf",
             {GgufFileType::kQ4_0, 1, {}, /*four_bit_embedding=*/true});
  const Checkpoint written = open_checkpoint((directory / "m.gguf").string());
  EXPECT_EQ(written.weights->matrix("model.embed_tokens.weight").value().encoding, Encoding::kQ4_0);
}

TEST(GgufModelWriter, CarriesFablesTokenizerAndSampling) {
  const Checkpoint fable = open_checkpoint((testing::models_dir() / "fable").string());
  const TemporaryDirectory directory;
  write_gguf(fable, directory / "m.gguf", {});
  const Checkpoint written = open_checkpoint((directory / "m.gguf").string());
  EXPECT_EQ(written.format, "GGUF q8_0");
  EXPECT_FLOAT_EQ(static_cast<float>(*written.generation.temperature),
                  static_cast<float>(*fable.generation.temperature));
  EXPECT_EQ(written.generation.top_k, fable.generation.top_k);
  for (const int id : fable.generation.eos_ids)
    EXPECT_THAT(written.generation.eos_ids, ::testing::Contains(id));
  const auto a = open_tokenizer(fable);
  const auto b = open_tokenizer(written);
  for (const char* text :
       {"Once upon a time", "\n\n\nTwo  spaces.\n", "é 漢 🦊", "<|turn>user\nHi<turn|>"})
    EXPECT_EQ(a->encode(text), b->encode(text)) << text;
}

/// A Gemma 3 with the real tokenizer's size, nearly no weights and norms stored as w − 1.
Checkpoint gemma3_model() {
  const Json config = Json::parse(R"({"model_type": "gemma3_text", "vocab_size": 262145, "hidden_size": 32,
    "num_hidden_layers": 6, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16,
    "intermediate_size": 32, "sliding_window": 8, "max_position_embeddings": 64, "query_pre_attn_scalar": 16})");
  Checkpoint model;
  model.spec = hf_model_spec(JsonView(config, "config.json"));
  model.weights = testing::random_weights(model.spec, 3);
  return model;
}

TEST(GgufModelWriter, WritesGemma3WithScoresAndWholeNorms) {
  const TemporaryDirectory directory;
  Checkpoint model = gemma3_model();
  model.tokenizer_file = directory / "tokenizer.json";
  testing::write_file(*model.tokenizer_file, testing::gemma3_tokenizer_json());
  write_gguf(model, directory / "m.gguf", {});
  const Checkpoint written = open_checkpoint((directory / "m.gguf").string());
  EXPECT_FALSE(written.spec.norm_weight_plus_one);
  EXPECT_EQ(written.spec.layer_count(), 6);
  EXPECT_TRUE(written.spec.layers[5].is_full());
  const auto stored = model.weights->vector("model.norm.weight").value();
  const auto whole = written.weights->vector("model.norm.weight").value();
  for (size_t i = 0; i < stored.size(); ++i) EXPECT_EQ(whole[i], stored[i] + 1);

  const GgufFile file(directory / "m.gguf");
  EXPECT_EQ(file.metadata().string("tokenizer.ggml.model"), "llama");
  const auto vocabulary = gguf_vocabulary(file).value();
  EXPECT_EQ(vocabulary.pieces.size(), 262145U) << "one unused token for the last row";
  const auto tokenizer = open_tokenizer(written);
  size_t same = 0;
  size_t all = 0;
  std::ifstream lines(testing::shared_dir() / "tokenizer/gemma3-encodings.jsonl");
  for (std::string line; std::getline(lines, line); ++all) {
    const auto sample = nlohmann::json::parse(line);
    same += tokenizer->encode(sample.at("text").get<std::string>()) == sample.at("ids") ? 1 : 0;
  }
  EXPECT_EQ(all, 664U);
  EXPECT_EQ(same, all);
}

TEST(GgufModelWriter, RefusesWhatGgufCannotHold) {
  const TemporaryDirectory directory;
  const auto expect_failure = [&](const Checkpoint& model, const std::string& says) {
    try {
      write_gguf(model, directory / "m.gguf", {});
      ADD_FAILURE() << "expected an error: " << says;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kFailed) << error.what();
      EXPECT_THAT(error.what(), HasSubstr(says));
    }
    EXPECT_FALSE(fs::exists(directory / "m.gguf"));
  };
  expect_failure(testing::tiny_checkpoint({}), "expected a Gemma 4 or Gemma 3 model, got tiny");
  Checkpoint gemma3 = gemma3_model();
  gemma3.spec.layers[2].kind = LayerKind::kFull;
  expect_failure(gemma3, "every sixth layer");
  Checkpoint small = open_checkpoint(golden("tiny-e2b").string());
  small.tokenizer_file = testing::models_dir() / "fable" / "tokenizer.json";
  expect_failure(small, "expected at most 512 tokens");
}

TEST(GgufModelWriter, AnExistingFileStays) {
  const TemporaryDirectory directory;
  testing::write_file(directory / "m.gguf", "precious");
  EXPECT_THROW(write_gguf(open_checkpoint(golden("tiny-e2b").string()), directory / "m.gguf", {}), Error);
  EXPECT_EQ(testing::read_file(directory / "m.gguf"), "precious");
}

TEST(GgufModelWriter, NumbersBeyondF16AreNamed) {
  const TemporaryDirectory directory;
  const fs::path copy = directory / "large";
  fs::create_directory(copy);
  fs::copy_file(golden("tiny-e2b") / "config.json", copy / "config.json");
  std::string bytes = testing::read_file(golden("tiny-e2b") / "model.safetensors");
  const SafetensorsFile file(testing::bytes_of(bytes), "golden");
  const auto at = static_cast<size_t>(file.find("model.layers.1.mlp.down_proj.weight")->bytes.data() -
                                      reinterpret_cast<const std::byte*>(bytes.data()));
  const uint16_t large = f32_to_bf16(1e6F);
  std::memcpy(bytes.data() + at, &large, sizeof large);
  testing::write_file(copy / "model.safetensors", bytes);
  testing::expect_bad_input(
      [&] {
        write_gguf(open_checkpoint(copy.string()), directory / "m.gguf", {GgufFileType::kF16, 1, {}});
        return 0;
      },
      {"model.layers.1.mlp.down_proj.weight", "65504", "[0, 0]"});
  EXPECT_FALSE(fs::exists(directory / "m.gguf"));
}

}  // namespace
}  // namespace facet
