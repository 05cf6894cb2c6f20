// MLX's affine quantization: the config section, and matrices against values written out by hand.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fmt/format.h>

#include "formats/files.h"
#include "formats/hf_weights.h"
#include "formats/safetensors_writer.h"
#include "quant/dequantize.h"
#include "support/errors.h"

namespace facet {
namespace {

using testing::expect_bad_input;
using testing::TemporaryDirectory;

std::optional<MlxQuantization> quantization(std::string_view config) {
  const Json json = Json::parse(config);
  return MlxQuantization::read(JsonView(json, "config.json"));
}

TEST(MlxQuantization, ReadsDefaultsAndOverrides) {
  for (const char* key : {"quantization", "quantization_config"}) {
    const auto q =
        quantization(std::string("{\"") + key +
                     R"(":{"group_size":64,"bits":4,"mode":"affine","a.b":{"group_size":32,"bits":8},)"
                     R"("a.c":false,"a.d":true}})");
    ASSERT_TRUE(q);
    EXPECT_EQ(q->default_format().bits, 4);
    EXPECT_EQ(q->format_of("a.x")->group_size, 64);
    EXPECT_EQ(q->format_of("a.b")->bits, 8);
    EXPECT_EQ(q->format_of("a.b")->group_size, 32);
    EXPECT_EQ(q->format_of("a.c").has_value(), false);
    EXPECT_EQ(q->format_of("a.d")->bits, 4);
  }
  EXPECT_FALSE(quantization("{}"));
}

TEST(MlxQuantization, RefusesWhatItCannotServe) {
  const auto says = [](std::string_view config, const std::string& message) {
    expect_bad_input([&] { return quantization(config); }, {message});
  };
  says(R"({"quantization":7})", "quantization: expected an object, got 7");
  says(R"({"quantization":{"bits":4}})", "quantization.group_size: expected a value, got nothing");
  says(R"({"quantization":{"bits":3,"group_size":64}})", "quantization.bits: expected 4 or 8, got 3");
  says(R"({"quantization":{"bits":4,"group_size":0}})",
       "quantization.group_size: expected 32, 64 or 128, got 0");
  says(R"({"quantization":{"bits":4,"group_size":32,"mode":"mxfp4"}})",
       "quantization.mode: expected \"affine\"");
  says(R"({"quantization":{"bits":4,"group_size":32,"m":{"bits":8}}})",
       "quantization.m.group_size: expected a value");
  says(R"({"quantization_config":{"quant_method":"bitsandbytes"}})", "quant_method: expected no such key");
}

/// A checkpoint of one quantized matrix "model.embed_tokens" [rows, cols]: code i of a row is i mod 2^bits,
/// scale 0.5·(row + 1), bias −group.
class MlxFile {
 public:
  MlxFile(int bits, int group, int64_t rows, int64_t cols) {
    const int64_t groups = cols / group;
    std::vector<uint8_t> codes(static_cast<size_t>(rows * cols * bits / 8));
    for (int64_t i = 0; i < rows * cols; ++i) {
      const auto code = static_cast<unsigned>(i % cols) & ((1U << bits) - 1);
      const unsigned shift = bits == 4 && i % 2 == 1 ? 4 : 0;
      codes[static_cast<size_t>(i * bits / 8)] |= static_cast<uint8_t>(code << shift);
    }
    std::vector<uint16_t> scales;
    std::vector<uint16_t> biases;
    for (int64_t i = 0; i < rows * groups; ++i) {
      scales.push_back(f32_to_bf16(0.5F * static_cast<float>(i / groups + 1)));
      biases.push_back(f32_to_bf16(-static_cast<float>(i % groups)));
    }
    SafetensorsWriter writer(path(), {{"model.embed_tokens.weight", DType::kU32, {rows, cols * bits / 32}},
                                      {"model.embed_tokens.scales", DType::kBF16, {rows, groups}},
                                      {"model.embed_tokens.biases", DType::kBF16, {rows, groups}}});
    writer.write("model.embed_tokens.weight", std::as_bytes(std::span(codes)));
    writer.write("model.embed_tokens.scales", std::as_bytes(std::span(scales)));
    writer.write("model.embed_tokens.biases", std::as_bytes(std::span(biases)));
    writer.finish();
  }

  [[nodiscard]] std::filesystem::path path() const { return directory_ / "model.safetensors"; }
  [[nodiscard]] HfWeights weights(std::optional<MlxQuantization> q) const {
    std::vector<SafetensorsFile> files;
    files.emplace_back(path());
    return HfWeights(ShardedSafetensors(std::move(files)), std::move(q));
  }

 private:
  TemporaryDirectory directory_;
};

TEST(MlxWeights, DequantizesEachWidthAndGroup) {
  for (const int bits : {4, 8}) {
    for (const int group : {32, 64, 128}) {
      const MlxFile file(bits, group, 3, 256);
      const HfWeights weights = file.weights(
          quantization(fmt::format(R"({{"quantization":{{"bits":{},"group_size":{}}}}})", bits, group)));
      const auto view = weights.matrix("model.embed_tokens.weight");
      ASSERT_TRUE(view);
      EXPECT_EQ(view->rows, 3);
      EXPECT_EQ(view->cols, 256);
      EXPECT_EQ(view->group_size, group);
      std::vector<float> row(256);
      dequantize_row(*view, 2, row.data());
      const MatrixView last = view->row_slice(2, 1);
      std::vector<float> same(256);
      dequantize_row(last, 0, same.data());
      EXPECT_EQ(row, same);
      for (int i = 0; i < 256; ++i)
        ASSERT_EQ(row[static_cast<size_t>(i)],
                  1.5F * static_cast<float>(i % (1 << bits)) - static_cast<float>(i / group))
            << bits << " bits, group " << group << ", element " << i;
    }
  }
}

TEST(MlxWeights, RefusesPartsThatDoNotFit) {
  const MlxFile file(4, 64, 2, 128);
  const auto reading = [&](std::string_view config) {
    return [&file, q = quantization(config)] { return file.weights(q).matrix("model.embed_tokens.weight"); };
  };
  expect_bad_input(reading("{}"),
                   {"model.embed_tokens.weight", "config.json says no quantization for it, got u32"});
  expect_bad_input(reading(R"({"quantization":{"bits":4,"group_size":64,"model.embed_tokens":false}})"),
                   {"config.json says no quantization for it"});
  expect_bad_input(
      reading(R"({"quantization":{"bits":4,"group_size":32}})"),
      {"model.embed_tokens.scales", "expected bf16 [2, 4] for 4 bits in groups of 32, got bf16 [2, 2]"});
  expect_bad_input(reading(R"({"quantization":{"bits":8,"group_size":64}})"),
                   {"expected bf16 [2, 1] for 8 bits in groups of 64, got bf16 [2, 2]"});
  expect_bad_input(reading(R"({"quantization":{"bits":8,"group_size":128}})"),
                   {"expected a multiple of the group size 128 elements a row, got 64"});
}

TEST(MlxWeights, RefusesMissingOrWrongCompanions) {
  const auto q = quantization(R"({"quantization":{"bits":8,"group_size":32}})");
  const auto reading = [&](std::string_view more, size_t bytes) {
    const std::string file = testing::safetensors(
        R"({"model.embed_tokens.weight":{"dtype":"U32","shape":[1,8],"data_offsets":[0,32]})" +
            std::string(more) + "}",
        bytes);
    std::vector<SafetensorsFile> files;
    files.emplace_back(testing::bytes_of(file), "f");
    return HfWeights(ShardedSafetensors(std::move(files)), q).matrix("model.embed_tokens.weight");
  };
  expect_bad_input([&] { return reading("", 32); },
                   {"expected \"model.embed_tokens.scales\" beside it, got none"});
  const std::string scales =
      R"(,"model.embed_tokens.scales":{"dtype":"BF16","shape":[1,1],"data_offsets":[32,34]})";
  expect_bad_input([&] { return reading(scales, 34); },
                   {"expected \"model.embed_tokens.biases\" beside it, got none"});
  expect_bad_input(
      [&] {
        return reading(
            scales + R"(,"model.embed_tokens.biases":{"dtype":"F16","shape":[1,1],"data_offsets":[34,36]})",
            36);
      },
      {"model.embed_tokens.biases", "expected bf16 [1, 1]", "got f16 [1, 1]"});
}

}  // namespace
}  // namespace facet
