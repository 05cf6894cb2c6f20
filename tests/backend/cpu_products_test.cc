// The CPU backend's products, on every instruction set this machine has, against the definition.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>

#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/isa.h"
#include "base/error.h"
#include "quant/dequantize.h"
#include "support/isa_names.h"
#include "support/random_matrix.h"

namespace facet {
namespace {

using testing::random_floats;
using testing::RandomMatrix;

struct ProductCase {
  Encoding encoding;
  int group;
  DType scale;
  int64_t rows, cols;
};

const std::vector<ProductCase> kCases = {
    {Encoding::kAffine4, 64, DType::kBF16, 256, 1536},  // E2B's shapes, the longest ones shortened
    {Encoding::kAffine4, 64, DType::kBF16, 96, 12288},
    {Encoding::kAffine4, 64, DType::kBF16, 40, 1600},
    {Encoding::kAffine4, 64, DType::kBF16, 1536, 256},
    {Encoding::kAffine4, 64, DType::kF16, 48, 2048},
    {Encoding::kAffine4, 32, DType::kBF16, 80, 96},
    {Encoding::kAffine4, 128, DType::kF32, 33, 384},
    {Encoding::kAffine4, 32, DType::kF16, 1, 32},
    {Encoding::kAffine4, 64, DType::kF32, 17, 192},
    {Encoding::kAffine8, 64, DType::kBF16, 128, 1536},
    {Encoding::kAffine8, 32, DType::kF16, 31, 160},
    {Encoding::kAffine8, 128, DType::kBF16, 16, 1024},
    {Encoding::kAffine8, 64, DType::kF32, 5, 64},
    {Encoding::kQ4_0, 32, DType::kF16, 64, 1536},  // GGUF: the group is the tile's
    {Encoding::kQ4_1, 32, DType::kF16, 17, 96},
    {Encoding::kQ5_0, 32, DType::kF16, 33, 64},
    {Encoding::kQ5_1, 32, DType::kF16, 16, 160},
    {Encoding::kQ8_0, 32, DType::kF16, 40, 1536},
    {Encoding::kQ4_K, 32, DType::kF32, 48, 1536},
    {Encoding::kQ5_K, 32, DType::kF32, 20, 512},
    {Encoding::kQ6_K, 16, DType::kF32, 31, 1536},
    {Encoding::kBF16, 0, DType::kF32, 256, 1536},
    {Encoding::kBF16, 0, DType::kF32, 19, 77},
    {Encoding::kF16, 0, DType::kF32, 130, 515},
    {Encoding::kF16, 0, DType::kF32, 3, 1},
    {Encoding::kF32, 0, DType::kF32, 65, 333},
    {Encoding::kF32, 0, DType::kF32, 512, 16},
};

/// Random rows in which now and then a value stands out, as an MLP's gated activations do.
std::vector<float> spiky_floats(int64_t count, uint32_t seed) {
  auto x = random_floats(count, seed);
  for (size_t i = seed % 7; i < x.size(); i += 37) x[i] *= 12;
  return x;
}

class CpuProducts : public ::testing::TestWithParam<std::string> {
 protected:
  /// A backend on the parameter's instruction set with `w` loaded and room for `rows`.
  struct Loaded {
    CpuBackend backend;
    std::unique_ptr<Weight> w;
    Loaded(const std::string& mode, int threads, const MatrixView& view, int rows)
        : backend({threads, testing::isa_of(mode)}) {
      backend.set_reading(testing::is_reading(mode));
      w = backend.load(view, WeightUse::kMatmul);
      Limits limits;
      limits.rows = rows;
      limits.hidden = static_cast<int>(view.cols);
      backend.reserve(limits);
    }
    std::vector<float> multiply(const float* x, int rows, int64_t out) {
      std::vector<float> y(static_cast<size_t>(rows * out), NAN);
      backend.matmul(x, rows, *w, out, y.data());
      return y;
    }
  };
};

/// What the product should be for activations as the kernels see them, in double, and the magnitude of its
/// terms.
void check_against_exact(const ProductCase& c, const MatrixView& view, const cpu::KernelTable& kernels,
                         const std::vector<float>& x, int rows, const std::vector<float>& y) {
  std::vector<float> seen = x;
  if (c.group > 0) {
    // Quantisation itself is checked against its definition: codes within half a step, the sum of what they
    // stand for.
    std::vector<int8_t> codes(static_cast<size_t>(c.cols));
    std::vector<float> scales(static_cast<size_t>(c.cols / c.group));
    std::vector<float> sums(scales.size());
    for (int t = 0; t < rows; ++t) {
      const float* row = x.data() + t * c.cols;
      const float limit = kernels.outlier_limit(row, c.cols);
      kernels.quantize_row(row, c.cols, c.cols, c.group, limit, codes.data(), scales.data(), sums.data());
      for (int64_t k = 0; k < c.cols; ++k) {
        const float scale = scales[static_cast<size_t>(k / c.group)];
        if (std::fabs(row[k]) > limit) {
          ASSERT_EQ(codes[static_cast<size_t>(k)], 0);
          continue;  // seen as it is
        }
        const float value = scale * static_cast<float>(codes[static_cast<size_t>(k)]);
        ASSERT_LE(std::fabs(value - row[k]), 0.5001F * scale + 1e-30F);
        seen[static_cast<size_t>(t * c.cols + k)] = value;
      }
    }
  }
  std::vector<float> w(static_cast<size_t>(c.cols));
  for (int64_t r = 0; r < c.rows; ++r) {
    dequantize_row(view, r, w.data());
    for (int t = 0; t < rows; ++t) {
      double exact = 0;
      double magnitude = 0;
      for (int64_t k = 0; k < c.cols; ++k) {
        const double term = double{w[static_cast<size_t>(k)]} * seen[static_cast<size_t>(t * c.cols + k)];
        exact += term;
        magnitude += std::fabs(term);
      }
      // n f32 additions of terms that add up to `magnitude` err by less than n · 2⁻²⁴ · magnitude, and in
      // practice by about √n of it; 8-bit affine sums cancel code · scale against the bias, hence the factor.
      const double n = c.group > 0 ? double(c.cols) / c.group + 4 : double(c.cols) + 4;
      const double bound = (8 * std::sqrt(n) + 32) * 0x1p-24 * magnitude + 1e-30;
      ASSERT_NEAR(y[static_cast<size_t>(t * c.rows + r)], exact, bound) << "row " << r << " token " << t;
    }
  }
}

/// The same for rows that are read: both factors rounded to bf16 where weights are quantised, and of f32's
/// precision where they are not.
void check_read_against_exact(const ProductCase& c, const MatrixView& view, const std::vector<float>& x,
                              int rows, const std::vector<float>& y) {
  const double rounding = c.group > 0 ? 0x1p-8 : 0x1p-22;
  std::vector<float> w(static_cast<size_t>(c.cols));
  double errors = 0;
  double bounds = 0;
  for (int64_t r = 0; r < c.rows; ++r) {
    dequantize_row(view, r, w.data());
    for (int t = 0; t < rows; ++t) {
      double exact = 0;
      double magnitude = 0;
      double squares = 0;
      for (int64_t k = 0; k < c.cols; ++k) {
        const double term = double{w[static_cast<size_t>(k)]} * x[static_cast<size_t>(t * c.cols + k)];
        exact += term;
        magnitude += std::fabs(term);
        squares += term * term;
      }
      const double error = y[static_cast<size_t>(t * c.rows + r)] - exact;
      const double sums = (8 * std::sqrt(static_cast<double>(c.cols)) + 32) * 0x1p-24 * magnitude;
      ASSERT_LE(std::fabs(error), rounding * magnitude + sums + 1e-30) << "row " << r << " token " << t;
      errors += error * error;
      bounds += rounding * rounding * squares + sums * sums;
    }
  }
  // Roundings are as often up as down: over all outputs they come to no more than each term's own.
  ASSERT_LE(errors, bounds + 1e-30);
}

TEST_P(CpuProducts, MatchTheDefinition) {
  uint32_t seed = 1;
  for (const ProductCase& c : kCases) {
    const RandomMatrix matrix(c.encoding, c.rows, c.cols, c.group, c.scale, ++seed);
    for (const int rows : {1, 2, 3, 7, 40}) {
      SCOPED_TRACE(fmt::format("{} group {} {} [{}, {}] x {}", encoding_name(c.encoding), c.group,
                               dtype_name(c.scale), c.rows, c.cols, rows));
      Loaded loaded(GetParam(), 2, matrix.view(), rows);
      const auto x = spiky_floats(rows * c.cols, ++seed);
      const auto y = loaded.multiply(x.data(), rows, c.rows);
      if (testing::is_reading(GetParam()))
        check_read_against_exact(c, matrix.view(), x, rows, y);
      else
        check_against_exact(c, matrix.view(), loaded.backend.kernels(), x, rows, y);
      if (HasFatalFailure()) return;
    }
  }
}

TEST_P(CpuProducts, ARowDoesNotDependOnItsBatch) {
  uint32_t seed = 100;
  for (const ProductCase& c : kCases) {
    SCOPED_TRACE(fmt::format("{} group {} [{}, {}]", encoding_name(c.encoding), c.group, c.rows, c.cols));
    const RandomMatrix matrix(c.encoding, c.rows, c.cols, c.group, c.scale, ++seed);
    constexpr int kRows = 45;  // few, blocks, and enough for a panel of outliers
    Loaded loaded(GetParam(), 2, matrix.view(), kRows);
    const auto x = spiky_floats(kRows * c.cols, ++seed);
    const auto all = loaded.multiply(x.data(), kRows, c.rows);
    for (int rows = 1; rows < kRows; rows += rows < 18 ? 1 : 7) {
      const auto some = loaded.multiply(x.data() + c.cols, rows, c.rows);
      const std::vector<float> same(all.begin() + c.rows, all.begin() + (rows + 1) * c.rows);
      ASSERT_EQ(some, same) << rows << " rows";
    }
  }
}

TEST_P(CpuProducts, ThreadsDoNotChangeTheResult) {
  const ProductCase c{Encoding::kAffine4, 64, DType::kBF16, 300, 512};
  const RandomMatrix matrix(c.encoding, c.rows, c.cols, c.group, c.scale, 7);
  for (const int rows : {1, 30}) {
    const auto x = spiky_floats(rows * c.cols, 8);
    const auto one = Loaded(GetParam(), 1, matrix.view(), rows).multiply(x.data(), rows, c.rows);
    for (const int threads : {2, 3, 7})
      ASSERT_EQ(Loaded(GetParam(), threads, matrix.view(), rows).multiply(x.data(), rows, c.rows), one);
  }
}

TEST_P(CpuProducts, BlocksOfTokensDoNotChangeARow) {
  const ProductCase c{Encoding::kAffine4, 64, DType::kBF16, 40, 12288};  // rows so long that a block has 64
  const RandomMatrix matrix(c.encoding, c.rows, c.cols, c.group, c.scale, 12);
  constexpr int kRows = 150;
  Loaded loaded(GetParam(), 2, matrix.view(), kRows);
  const auto x = spiky_floats(kRows * c.cols, 13);
  const auto all = loaded.multiply(x.data(), kRows, c.rows);
  for (const int row : {0, 63, 64, 127, 128, 149}) {
    const auto one = loaded.multiply(x.data() + row * c.cols, 1, c.rows);
    const auto* from = all.data() + row * c.rows;
    ASSERT_EQ(std::vector<float>(from, from + c.rows), one) << "row " << row;
  }
}

TEST_P(CpuProducts, OfTheFirstOutputs) {
  const ProductCase c{Encoding::kAffine8, 64, DType::kBF16, 100, 128};
  const RandomMatrix matrix(c.encoding, c.rows, c.cols, c.group, c.scale, 9);
  Loaded loaded(GetParam(), 2, matrix.view(), 3);
  const auto x = random_floats(3 * c.cols, 10);
  const auto all = loaded.multiply(x.data(), 3, c.rows);
  const auto some = loaded.multiply(x.data(), 3, 37);
  for (size_t t = 0; t < 3; ++t)
    for (size_t r = 0; r < 37; ++r) ASSERT_EQ(some[t * 37 + r], all[t * 100 + r]);
}

TEST_P(CpuProducts, OutliersAreFewAndExact) {
  const cpu::KernelTable& kernels = cpu::choose_kernels(testing::isa_of(GetParam()));
  for (const int64_t cols : {16, 100, 512, 12288}) {
    const auto x = spiky_floats(cols, 3);
    double squares = 0;
    for (const float v : x) squares += double{v} * v;
    const float limit = kernels.outlier_limit(x.data(), cols);
    EXPECT_NEAR(limit, 4 * std::sqrt(squares / static_cast<double>(cols)), 1e-5 * limit);
    std::vector<cpu::Outlier> outliers(static_cast<size_t>(cols));
    const auto count =
        kernels.list_outliers(x.data(), cols, limit, static_cast<int32_t>(cols), outliers.data());
    EXPECT_LE(count, cols / 16);
    EXPECT_GT(count, cols >= 512 ? 0 : -1);
    int32_t next = 0;
    for (int32_t column = 0; column < cols; ++column) {
      if (std::fabs(x[static_cast<size_t>(column)]) <= limit) continue;
      ASSERT_LT(next, count);
      EXPECT_EQ(outliers[static_cast<size_t>(next)].column, column);
      EXPECT_EQ(outliers[static_cast<size_t>(next++)].value, x[static_cast<size_t>(column)]);
    }
    EXPECT_EQ(next, count);
    EXPECT_EQ(kernels.list_outliers(x.data(), cols, 0, 5, outliers.data()), 5) << "never more than wanted";
  }
  // Squares that vanish or overflow make no outliers: every value would be one.
  for (const float scale : {0.0F, 1e-25F, 1e30F}) {
    std::vector<float> x = random_floats(256, 4);
    for (float& v : x) v *= scale;
    EXPECT_EQ(kernels.outlier_limit(x.data(), 256), std::numeric_limits<float>::infinity());
  }
}

TEST_P(CpuProducts, ZeroAndHugeActivations) {
  const ProductCase c{Encoding::kAffine4, 64, DType::kBF16, 16, 128};
  const RandomMatrix matrix(c.encoding, c.rows, c.cols, c.group, c.scale, 11);
  Loaded loaded(GetParam(), 1, matrix.view(), 2);
  std::vector<float> x(2 * 128, 0.0F);
  for (size_t k = 128; k < 256; ++k) x[k] = 1e30F;
  const auto y = loaded.multiply(x.data(), 2, c.rows);
  for (size_t r = 0; r < 16; ++r) {
    EXPECT_EQ(y[r], 0.0F);
    EXPECT_TRUE(std::isfinite(y[16 + r]));
  }
}

TEST(CpuLoad, RefusesGroupsThatDoNotDivide) {
  CpuBackend backend({1, ""});
  RandomMatrix matrix(Encoding::kAffine4, 4, 128, 64, DType::kBF16, 1);
  MatrixView view = matrix.view();
  view.group_size = 48;
  EXPECT_THROW(static_cast<void>(backend.load(view, WeightUse::kMatmul)), Error);
}

TEST(CpuIsa, NamesAreChecked) {
  EXPECT_THROW(static_cast<void>(cpu::choose_kernels("sse9")), Error);
  EXPECT_STREQ(cpu::choose_kernels("portable").name, "portable");
  EXPECT_STREQ(cpu::choose_kernels("").name, cpu::available_kernels().front()->name);
}

INSTANTIATE_TEST_SUITE_P(Isa, CpuProducts, ::testing::ValuesIn(testing::kernel_modes()),
                         [](const auto& isa) { return isa.param; });

}  // namespace
}  // namespace facet
