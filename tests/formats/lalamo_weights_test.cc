// lalamo's quantized matrices against values worked out by hand.
#include "formats/lalamo_weights.h"

#include <gtest/gtest.h>

#include <functional>
#include <map>

#include "formats/files.h"
#include "formats/safetensors_writer.h"
#include "quant/dequantize.h"
#include "support/errors.h"

namespace facet {
namespace {

using testing::expect_bad_input;
using testing::TemporaryDirectory;

constexpr const char* kDown = "model.layers.0.mlp.down_proj.weight";
const std::string kPath = "transformer.layers.0.mlp.down_projection";

/// One layer; mlp.down_proj is [2, 96].
ModelSpec spec() {
  ModelSpec s;
  s.hidden_size = 2;
  s.vocab_size = 4;
  LayerSpec& layer = s.layers.emplace_back();
  layer.head_dim = 2;
  layer.q_heads = 2;
  layer.kv_heads = 1;
  layer.ffn_dim = 96;
  return s;
}

struct Part {
  std::string name;
  DType dtype;
  std::vector<int64_t> shape;
  std::string bytes;
};

std::string bf16s(std::initializer_list<float> values) {
  std::string bytes;
  for (const float v : values) {
    const uint16_t bits = f32_to_bf16(v);
    bytes.append(reinterpret_cast<const char*>(&bits), 2);
  }
  return bytes;
}

/// Codes of [2, 96]: element i of a row is i mod 16 (4 bits) or i (8 bits).
Part codes(int bits, const std::string& name = kPath + ".weights") {
  std::string bytes;
  for (int row = 0; row < 2; ++row)
    for (int i = 0; i < 96; i += bits == 4 ? 2 : 1)
      bytes += static_cast<char>(bits == 4 ? (i % 16) | ((i + 1) % 16) << 4 : i);
  return {name, DType::kU8, {2, 96 * bits / 8}, bytes};
}

class LalamoMatrix : public ::testing::Test {
 protected:
  LalamoWeights weights(const std::vector<Part>& parts,
                        const std::map<std::string, std::string>& metadata = {}) {
    const auto path = directory_ / std::to_string(count_++);
    std::vector<TensorDeclaration> declarations;
    for (const Part& part : parts) declarations.push_back({part.name, part.dtype, part.shape});
    SafetensorsWriter writer(path, declarations, metadata);
    for (const Part& part : parts) writer.write(part.name, testing::bytes_of(part.bytes));
    writer.finish();
    std::vector<SafetensorsFile> files;
    files.emplace_back(path);
    return {ShardedSafetensors(std::move(files)), spec()};
  }
  void expect_refused(const std::vector<Part>& parts, const std::string& says,
                      const std::map<std::string, std::string>& metadata = {}) {
    const LalamoWeights w = weights(parts, metadata);
    expect_bad_input([&] { return w.matrix(kDown); }, {says});
  }

 private:
  TemporaryDirectory directory_;
  int count_ = 0;
};

const std::string kThreeScales = bf16s({0.5F, 1, 2, 0.25F, 3, 1.5F});  // [2, 3]

void expect_rows(const LalamoWeights& w, const std::function<float(int row, int column)>& expected) {
  const auto view = w.matrix(kDown);
  ASSERT_TRUE(view);
  EXPECT_EQ(view->rows, 2);
  EXPECT_EQ(view->cols, 96);
  std::vector<float> row(96);
  for (int r = 0; r < 2; ++r) {
    dequantize_row(*view, r, row.data());
    for (int c = 0; c < 96; ++c) ASSERT_EQ(row[static_cast<size_t>(c)], expected(r, c)) << r << ", " << c;
  }
}

constexpr float kScales[2][3] = {{0.5F, 1, 2}, {0.25F, 3, 1.5F}};

TEST_F(LalamoMatrix, ReadsBiasesUnderBothNames) {
  for (const char* name : {".biases", ".deq_biases"})
    expect_rows(weights({codes(4),
                         {kPath + ".scales", DType::kBF16, {2, 3}, kThreeScales},
                         {kPath + name, DType::kBF16, {2, 3}, bf16s({-1, -2, -3, -4, -5, -6})}}),
                [](int r, int c) {
                  return kScales[r][c / 32] * static_cast<float>(c % 16) -
                         static_cast<float>(3 * r + c / 32 + 1);
                });
}

TEST_F(LalamoMatrix, ReadsZeroPointsOfFourBits) {
  // Three groups a row: low nibble, high nibble, and the low nibble of a second byte.
  constexpr int kZeros[2][3] = {{7, 15, 1}, {0, 9, 14}};
  const std::string packed = {static_cast<char>(7 | 15 << 4), 1, static_cast<char>(0 | 9 << 4), 14};
  expect_rows(
      weights({codes(4),
               {kPath + ".scales", DType::kBF16, {2, 3}, kThreeScales},
               {kPath + ".zero_points", DType::kU8, {2, 2}, packed}}),
      [&](int r, int c) { return kScales[r][c / 32] * static_cast<float>(c % 16 - kZeros[r][c / 32]); });
}

TEST_F(LalamoMatrix, ReadsZeroPointsOfEightBits) {
  const std::string zeros = {static_cast<char>(200), 3, 17, 0, static_cast<char>(255), 128 - 256};
  constexpr int kZeros[2][3] = {{200, 3, 17}, {0, 255, 128}};
  expect_rows(weights({codes(8),
                       {kPath + ".scales", DType::kBF16, {2, 3}, kThreeScales},
                       {kPath + ".zero_points", DType::kU8, {2, 3}, zeros}}),
              [&](int r, int c) { return kScales[r][c / 32] * static_cast<float>(c - kZeros[r][c / 32]); });
}

TEST_F(LalamoMatrix, TakesTheMiddleWhenTheSpecSaysSymmetric) {
  const std::string prefix = "decoder." + kPath + ".weights";
  for (const int bits : {4, 8})
    expect_rows(
        weights(
            {codes(bits, prefix + ".weights"), {prefix + ".scales", DType::kBF16, {2, 3}, kThreeScales}},
            {{prefix + ".spec",
              R"({"type":"IntSpec","bits":4,"group_size":32,"is_symmetric":true,"layout":"output_input"})"}}),
        [&](int r, int c) {
          const int q = bits == 4 ? c % 16 - 8 : c - 128;
          return kScales[r][c / 32] * static_cast<float>(q);
        });
}

TEST_F(LalamoMatrix, KeepsConvertedBiasesForTheSlicesOfAFusedMatrix) {
  ModelSpec s = spec();
  const std::string up = "transformer.layers.0.mlp.up_projection";
  s.hidden_size = 96;
  s.layers[0].ffn_dim = 1;
  Part fused = codes(4, up + ".weights");
  const TemporaryDirectory directory;
  SafetensorsWriter writer(directory / "f", {{fused.name, fused.dtype, fused.shape},
                                             {up + ".scales", DType::kBF16, {2, 3}},
                                             {up + ".zero_points", DType::kU8, {2, 2}}});
  writer.write(fused.name, testing::bytes_of(fused.bytes));
  writer.write(up + ".scales", testing::bytes_of(kThreeScales));
  writer.write(up + ".zero_points", testing::bytes_of(std::string("\x11\x01\x22\x02")));
  writer.finish();
  std::vector<SafetensorsFile> files;
  files.emplace_back(directory / "f");
  const LalamoWeights w(ShardedSafetensors(std::move(files)), s);
  const MatrixView first = w.matrix("model.layers.0.mlp.up_proj.weight").value();
  const MatrixView second = w.matrix("model.layers.0.mlp.gate_proj.weight").value();
  float row[96];
  dequantize_row(first, 0, row);
  EXPECT_EQ(row[5], 0.5F * (5 - 1));
  dequantize_row(second, 0, row);
  EXPECT_EQ(row[5], 0.25F * (5 - 2));
}

TEST_F(LalamoMatrix, RefusesPartsThatDoNotFit) {
  const Part scales = {kPath + ".scales", DType::kBF16, {2, 3}, kThreeScales};
  expect_refused({codes(4)}, "down_projection.weights\": expected scales beside it, got none");
  expect_refused({codes(4), scales},
                 "expected biases, deq_biases or zero_points beside it, or a symmetric spec");
  expect_refused({codes(4), scales, {kPath + ".biases", DType::kF16, {2, 3}, kThreeScales}},
                 "biases\": expected bf16 [2, 3] as its scales, got f16 [2, 3]");
  expect_refused({codes(4), scales, {kPath + ".zero_points", DType::kU8, {2, 3}, "123456"}},
                 "zero_points\": expected u8 [2, 2], got u8 [2, 3]");
  expect_refused({codes(4), {kPath + ".scales", DType::kBF16, {2, 5}, std::string(20, '\0')}},
                 "scales\": expected floats [2, a divisor of 96], got bf16 [2, 5]");
  expect_refused({codes(4), {kPath + ".scales", DType::kU8, {2, 3}, "123456"}}, "scales\": expected floats");
  expect_refused({{kPath + ".weights", DType::kU8, {2, 95}, std::string(190, '\0')}},
                 "expected codes [2, 48] of 4 bits or [2, 96] of 8, got [2, 95]");
  expect_refused({{kPath + ".weights", DType::kBF16, {3, 96}, std::string(576, '\0')}},
                 "expected f32, f16 or bf16 [2, 96] or u8 codes, got bf16 [3, 96]");
  expect_refused({{kPath + ".weights", DType::kI32, {2, 96}, std::string(768, '\0')}}, "got i32 [2, 96]");
}

TEST_F(LalamoMatrix, RefusesSpecsOfOtherKinds) {
  const std::vector<Part> parts = {codes(4), {kPath + ".scales", DType::kBF16, {2, 3}, kThreeScales}};
  const std::string key = kPath + ".spec";
  expect_refused(parts, "spec: type: expected \"MLXSpec\"", {{key, R"({"type":"LloydMaxSpec"})"}});
  expect_refused(parts, "spec: layout: expected \"output_input\"",
                 {{key, R"({"type":"IntSpec","layout":"input_output"})"}});
  expect_refused(parts, "spec: bad JSON", {{key, "{"}});
  expect_refused(parts, "spec: type: expected a value, got nothing", {{key, "{}"}});
}

}  // namespace
}  // namespace facet
