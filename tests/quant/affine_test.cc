#include "quant/affine.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "formats/safetensors.h"
#include "quant/dequantize.h"
#include "quant/error_carry.h"
#include "support/paths.h"
#include "support/random_matrix.h"

namespace facet {
namespace {

/// An encoded row with its memory.
struct Encoded {
  std::vector<std::byte> codes;
  std::vector<uint16_t> scales, biases;
  std::vector<float> decoded;

  [[nodiscard]] int code(size_t i, int bits) const {
    if (bits == 8) return static_cast<int>(codes[i]);
    const auto byte = static_cast<unsigned>(codes[i / 2]);
    return static_cast<int>(i % 2 == 0 ? byte & 15U : byte >> 4);
  }
};

Encoded encode(const std::vector<float>& row, const AffineEncoding& encoding,
               const InputWeights& inputs = {}) {
  Encoded e;
  const auto groups = row.size() / static_cast<size_t>(encoding.group_size);
  e.codes.resize(row.size() * static_cast<size_t>(encoding.bits) / 8);
  e.scales.resize(groups);
  e.biases.resize(groups);
  std::vector<float> scratch(row.size());
  encode_affine_row(row, encoding, inputs, scratch, {e.codes, e.scales, e.biases});
  MatrixView view;
  view.encoding = encoding.bits == 4 ? Encoding::kAffine4 : Encoding::kAffine8;
  view.rows = 1;
  view.cols = static_cast<int64_t>(row.size());
  view.data = e.codes.data();
  view.scales = reinterpret_cast<const std::byte*>(e.scales.data());
  view.biases = reinterpret_cast<const std::byte*>(e.biases.data());
  view.group_size = encoding.group_size;
  e.decoded.resize(row.size());
  dequantize_row(view, 0, e.decoded.data());
  return e;
}

double squared_error(const std::vector<float>& row, const std::vector<float>& decoded,
                     const std::vector<float>& energy = {}) {
  double sum = 0;
  for (size_t i = 0; i < row.size(); ++i) {
    const double d = static_cast<double>(row[i]) - static_cast<double>(decoded[i]);
    sum += d * d * (energy.empty() ? 1.0 : static_cast<double>(energy[i]));
  }
  return sum;
}

struct Size {
  int bits;
  int group;
};

class AffineSize : public ::testing::TestWithParam<Size> {};

TEST_P(AffineSize, EveryElementIsWithinHalfAStep) {
  const auto [bits, group] = GetParam();
  const std::vector<float> row = testing::random_floats(1024, 7, 0.1F);
  const Encoded e = encode(row, {bits, group, AffineMethod::kNearest});
  for (size_t i = 0; i < row.size(); ++i) {
    const size_t g = i / static_cast<size_t>(group);
    const double step = std::abs(static_cast<double>(bf16_to_f32(e.scales[g])));
    // MLX's rule moves the far end by up to half a step, and bf16 moves both.
    const double slack = step * 1.01 + std::abs(static_cast<double>(bf16_to_f32(e.biases[g]))) / 128;
    EXPECT_LE(std::abs(static_cast<double>(row[i]) - static_cast<double>(e.decoded[i])), slack) << i;
  }
  EXPECT_LT(std::sqrt(squared_error(row, e.decoded) / squared_error(row, std::vector<float>(row.size()))),
            bits == 4 ? 0.13 : 0.01);
}

TEST_P(AffineSize, TheSearchIsNeverWorseInAnyGroup) {
  const auto [bits, group] = GetParam();
  for (const uint32_t seed : {1U, 2U, 3U}) {
    const std::vector<float> row = testing::random_floats(2048, seed, 0.1F);
    std::vector<float> energy = testing::random_floats(2048, seed + 100, 1);
    for (float& e : energy) e *= e;
    for (const std::vector<float>& weights : {std::vector<float>{}, energy}) {
      const Encoded nearest = encode(row, {bits, group, AffineMethod::kNearest});
      const Encoded searched = encode(row, {bits, group, AffineMethod::kSearch}, {weights, {}});
      for (size_t begin = 0; begin < row.size(); begin += static_cast<size_t>(group)) {
        const auto part = [&](const std::vector<float>& v) {
          return v.empty() ? v
                           : std::vector<float>(v.begin() + static_cast<std::ptrdiff_t>(begin),
                                                v.begin() + static_cast<std::ptrdiff_t>(begin) + group);
        };
        EXPECT_LE(squared_error(part(row), part(searched.decoded), part(weights)),
                  squared_error(part(row), part(nearest.decoded), part(weights)) * 1.0001);
      }
    }
  }
}

// MLX keeps f32 scales of f32 weights; here they are bf16, and the codes the nearest to those.
TEST_P(AffineSize, ChoosesTheScalesThatMlxChooses) {
  const auto [bits, group] = GetParam();
  const SafetensorsFile file(testing::data_dir() / "quant" / "affine.safetensors");
  const auto floats = [&](const std::string& name) {
    const StoredTensor* tensor = file.find(name);
    std::vector<float> values(static_cast<size_t>(tensor->elements()));
    std::memcpy(values.data(), tensor->bytes.data(), tensor->bytes.size());
    return values;
  };
  const std::string prefix = std::to_string(bits) + "-" + std::to_string(group) + ".";
  const std::vector<float> rows = floats("rows");
  const std::vector<float> scales = floats(prefix + "scales");
  const std::vector<float> biases = floats(prefix + "biases");
  const auto* codes = file.find(prefix + "codes")->bytes.data();
  constexpr size_t kCols = 512;
  const size_t groups = kCols / static_cast<size_t>(group);
  int off_by_one = 0;
  for (size_t r = 0; r < 8; ++r) {
    const std::vector<float> row(rows.begin() + static_cast<std::ptrdiff_t>(r * kCols),
                                 rows.begin() + static_cast<std::ptrdiff_t>((r + 1) * kCols));
    const Encoded e = encode(row, {bits, group, AffineMethod::kNearest});
    for (size_t g = 0; g < groups; ++g) {
      EXPECT_EQ(e.scales[g], f32_to_bf16(scales[r * groups + g])) << r << ' ' << g;
      EXPECT_EQ(e.biases[g], f32_to_bf16(biases[r * groups + g])) << r << ' ' << g;
    }
    for (size_t i = 0; i < kCols; ++i) {
      const size_t at = r * kCols + i;
      const auto byte = static_cast<int>(codes[bits == 8 ? at : at / 2]);
      const int theirs = bits == 8 ? byte : at % 2 == 0 ? byte & 15 : byte >> 4;
      EXPECT_LE(std::abs(e.code(i, bits) - theirs), bits == 8 ? 2 : 1) << r << ' ' << i;
      off_by_one += e.code(i, bits) != theirs ? 1 : 0;
    }
  }
  if (bits == 4) {
    EXPECT_LE(off_by_one, 8 * 512 / 20) << "a bf16 grid is hardly another at 4 bits";
  }
}

INSTANTIATE_TEST_SUITE_P(All, AffineSize,
                         ::testing::Values(Size{4, 32}, Size{4, 64}, Size{4, 128}, Size{8, 32}, Size{8, 64},
                                           Size{8, 128}),
                         [](const auto& size) {
                           return "Bits" + std::to_string(size.param.bits) + "Group" +
                                  std::to_string(size.param.group);
                         });

TEST(Affine, TheSearchLowersTheErrorOfNormalWeightsAtFourBits) {
  double nearest = 0;
  double searched = 0;
  for (uint32_t seed = 0; seed < 4; ++seed) {
    const std::vector<float> row = testing::random_floats(4096, seed, 0.1F);
    nearest += squared_error(row, encode(row, {4, 64, AffineMethod::kNearest}).decoded);
    searched += squared_error(row, encode(row, {4, 64, AffineMethod::kSearch}).decoded);
  }
  EXPECT_LT(searched, 0.8 * nearest);
}

TEST(Affine, EnergyMovesTheErrorToWhereItCostsLittle) {
  const std::vector<float> row = testing::random_floats(4096, 5, 0.1F);
  std::vector<float> energy(row.size(), 0.01F);
  for (size_t i = 0; i < energy.size(); i += 4) energy[i] = 10;
  const Encoded plain = encode(row, {4, 64, AffineMethod::kSearch});
  const Encoded weighted = encode(row, {4, 64, AffineMethod::kSearch}, {energy, {}});
  EXPECT_LT(squared_error(row, weighted.decoded, energy), 0.7 * squared_error(row, plain.decoded, energy));
}

TEST(Affine, ZeroIsExactInAGroupOfBothSigns) {
  std::vector<float> row = testing::random_floats(64, 3, 0.1F);
  row[17] = 0;
  const Encoded e = encode(row, {8, 64, AffineMethod::kNearest});
  // The edge is a bf16 number and so is the scale: a multiple of it is near, not equal.
  EXPECT_NEAR(e.decoded[17], 0, 0.51 * std::abs(bf16_to_f32(e.scales[0])));
}

TEST(Affine, GroupsWithoutSpread) {
  for (const AffineMethod method : {AffineMethod::kNearest, AffineMethod::kSearch})
    for (const float value : {0.0F, 1.0F, -0.5F, 1e-30F, -3.0F}) {
      const Encoded e = encode(std::vector<float>(64, value), {4, 32, method});
      for (const float d : e.decoded) EXPECT_NEAR(d, value, std::abs(value) / 128 + 1e-6) << value;
    }
}

TEST(Affine, ExtremesStayFinite) {
  for (const AffineMethod method : {AffineMethod::kNearest, AffineMethod::kSearch})
    for (const float magnitude : {1e-38F, 1e-20F, 1e20F, 2e38F}) {
      std::vector<float> row = testing::random_floats(64, 9, 0.3F);
      for (float& x : row) x = std::clamp(x, -1.0F, 1.0F) * magnitude;
      for (const float d : encode(row, {4, 64, method}).decoded) {
        EXPECT_TRUE(std::isfinite(d)) << magnitude;
        EXPECT_LE(std::abs(d), 1.1F * std::max(magnitude, 1e-5F));
      }
    }
}

TEST(Affine, AnOutlierIsKept) {
  std::vector<float> row = testing::random_floats(64, 4, 0.01F);
  row[5] = 3;
  for (const AffineMethod method : {AffineMethod::kNearest, AffineMethod::kSearch})
    EXPECT_NEAR(encode(row, {4, 64, method}).decoded[5], 3, 0.05);
}

// --- errors made up for -----------------------------------------------------------------------------------

constexpr size_t kColumns = 128;

/// E[x xᵀ] of inputs with few directions, and a little noise.
std::vector<float> correlated_moments() {
  constexpr size_t kDirections = 24;
  const std::vector<float> mixing = testing::random_floats(kColumns * kDirections, 21);
  std::vector<float> moments(kColumns * kColumns);
  for (size_t i = 0; i < kColumns; ++i)
    for (size_t j = 0; j < kColumns; ++j) {
      float sum = i == j ? 0.05F : 0.0F;
      for (size_t d = 0; d < kDirections; ++d)
        sum += mixing[i * kDirections + d] * mixing[j * kDirections + d];
      moments[i * kColumns + j] = sum;
    }
  return moments;
}

/// eᵀ H e
double output_error(const std::vector<float>& row, const std::vector<float>& decoded,
                    const std::vector<float>& moments) {
  double sum = 0;
  for (size_t i = 0; i < kColumns; ++i)
    for (size_t j = 0; j < kColumns; ++j)
      sum += static_cast<double>(row[i] - decoded[i]) * static_cast<double>(row[j] - decoded[j]) *
             static_cast<double>(moments[i * kColumns + j]);
  return sum;
}

TEST(ErrorCarry, FactorsTheDampedMoments) {
  const std::vector<float> moments = correlated_moments();
  ThreadPool pool(2);
  constexpr double kDamping = 0.01;
  const ErrorCarry c = error_carry(moments, kColumns, kDamping, pool);
  ASSERT_EQ(c.energy.size(), kColumns);
  double trace = 0;
  for (size_t i = 0; i < kColumns; ++i) trace += static_cast<double>(moments[i * kColumns + i]);
  for (size_t i = 0; i < kColumns; ++i) {
    EXPECT_FLOAT_EQ(c.carry[i * kColumns + i], 1);
    for (size_t j = i; j < kColumns; ++j) {
      double sum = 0;  // (R D Rᵀ)[i, j]
      for (size_t k = j; k < kColumns; ++k)
        sum += static_cast<double>(c.carry[i * kColumns + k]) * static_cast<double>(c.energy[k]) *
               static_cast<double>(c.carry[j * kColumns + k]);
      const double expected = static_cast<double>(moments[i * kColumns + j]) +
                              (i == j ? kDamping * trace / static_cast<double>(kColumns) : 0.0);
      EXPECT_NEAR(sum, expected, 1e-4 * trace / static_cast<double>(kColumns)) << i << ' ' << j;
    }
  }
}

TEST(ErrorCarry, LowersTheErrorOfTheProduct) {
  const std::vector<float> moments = correlated_moments();
  ThreadPool pool(1);
  const ErrorCarry c = error_carry(moments, kColumns, 0.01, pool);
  std::vector<float> diagonal(kColumns);
  for (size_t i = 0; i < kColumns; ++i) diagonal[i] = moments[i * kColumns + i];
  double searched = 0;
  double carried = 0;
  for (uint32_t seed = 0; seed < 8; ++seed) {
    const std::vector<float> row = testing::random_floats(kColumns, seed, 0.1F);
    const AffineEncoding encoding{4, 64, AffineMethod::kSearch};
    searched += output_error(row, encode(row, encoding, {diagonal, {}}).decoded, moments);
    carried += output_error(row, encode(row, encoding, {c.energy, c.carry}).decoded, moments);
  }
  EXPECT_LT(carried, 0.5 * searched);
}

TEST(ErrorCarry, UncorrelatedInputsCarryNothing) {
  std::vector<float> moments(kColumns * kColumns);
  for (size_t i = 0; i < kColumns; ++i) moments[i * kColumns + i] = 1 + static_cast<float>(i);
  ThreadPool pool(1);
  const ErrorCarry c = error_carry(moments, kColumns, 0.0, pool);
  ASSERT_FALSE(c.energy.empty());
  for (size_t i = 0; i < kColumns; ++i) {
    EXPECT_FLOAT_EQ(c.energy[i], 1 + static_cast<float>(i));
    for (size_t j = i + 1; j < kColumns; ++j) EXPECT_EQ(c.carry[i * kColumns + j], 0);
  }
}

TEST(ErrorCarry, NothingForMomentsThatSayNothing) {
  ThreadPool pool(1);
  std::vector<float> moments(kColumns * kColumns, 0.0F);
  EXPECT_TRUE(error_carry(moments, kColumns, 0.01, pool).energy.empty());
  moments[0] = NAN;
  EXPECT_TRUE(error_carry(moments, kColumns, 0.01, pool).energy.empty());
  moments[0] = INFINITY;
  EXPECT_TRUE(error_carry(moments, kColumns, 0.01, pool).energy.empty());
}

}  // namespace
}  // namespace facet
