// Every block format against the gguf Python package, value by value (tools/make_quant_goldens.py).
#include "quant/dequantize.h"

#include <gtest/gtest.h>

#include <bit>
#include <filesystem>

#include "formats/safetensors.h"
#include "support/paths.h"

namespace facet {
namespace {

class BlockFormat : public ::testing::TestWithParam<Encoding> {};

TEST_P(BlockFormat, DecodesAsTheReferenceDoes) {
  const SafetensorsFile file(testing::data_dir() / "quant" / "blocks.safetensors");
  const std::string name(encoding_name(GetParam()));
  const StoredTensor* blocks = file.find(name + ".blocks");
  const StoredTensor* values = file.find(name + ".values");
  ASSERT_NE(blocks, nullptr);
  ASSERT_NE(values, nullptr);
  ASSERT_EQ(values->elements(), 1024);

  MatrixView view;
  view.encoding = GetParam();
  view.rows = 2;
  view.cols = 512;
  view.data = blocks->bytes.data();
  ASSERT_EQ(view.bytes(), static_cast<int64_t>(blocks->bytes.size()));
  std::vector<float> row(512);
  for (int64_t r = 0; r < view.rows; ++r) {
    dequantize_row(view, r, row.data());
    for (int64_t i = 0; i < view.cols; ++i) {
      const float expected = load_float(DType::kF32, values->bytes.data(), r * view.cols + i);
      ASSERT_EQ(row[static_cast<size_t>(i)], expected) << name << " row " << r << " element " << i;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, BlockFormat,
                         ::testing::Values(Encoding::kQ4_0, Encoding::kQ4_1, Encoding::kQ5_0, Encoding::kQ5_1,
                                           Encoding::kQ8_0, Encoding::kQ2_K, Encoding::kQ3_K, Encoding::kQ4_K,
                                           Encoding::kQ5_K, Encoding::kQ6_K, Encoding::kIQ4_NL,
                                           Encoding::kIQ4_XS),
                         [](const auto& format) { return std::string(encoding_name(format.param)); });

TEST(Dequantize, FloatsAreThemselves) {
  const std::vector<uint16_t> halves = {0x3c00, 0xbc00, 0x0001, 0x7bff};  // 1, −1, 2⁻²⁴, 65504
  MatrixView view;
  view.encoding = Encoding::kF16;
  view.rows = 1;
  view.cols = 4;
  view.data = std::as_bytes(std::span(halves)).data();
  std::vector<float> row(4);
  dequantize_row(view, 0, row.data());
  EXPECT_EQ(row, (std::vector<float>{1, -1, 0x1p-24F, 65504}));
  view.encoding = Encoding::kBF16;
  dequantize_row(view, 0, row.data());
  EXPECT_EQ(row[0], std::bit_cast<float>(0x3c000000U));
}

}  // namespace
}  // namespace facet
