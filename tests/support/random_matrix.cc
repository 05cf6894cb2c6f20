#include "support/random_matrix.h"

#include <cmath>
#include <cstring>

namespace facet::testing {
namespace {

size_t put_float(DType dtype, float value, std::byte* to) {
  if (dtype == DType::kF32) {
    std::memcpy(to, &value, 4);
    return 4;
  }
  const uint16_t half = dtype == DType::kBF16 ? f32_to_bf16(value) : f32_to_f16(value);
  std::memcpy(to, &half, 2);
  return 2;
}

}  // namespace

RandomMatrix::RandomMatrix(Encoding encoding, int64_t rows, int64_t cols, int group_size, DType scale_dtype,
                           uint32_t seed, float deviation) {
  std::mt19937 random(seed);
  view_.encoding = encoding;
  view_.rows = rows;
  view_.cols = cols;
  data_.resize(static_cast<size_t>(rows * view_.row_bytes()));
  if (view_.is_affine()) {
    view_.group_size = group_size;
    view_.scale_dtype = scale_dtype;
    for (std::byte& b : data_) b = static_cast<std::byte>(random() & 0xffU);
    // Codes are uniform over 0 … n: n / √12 of deviation, a mean of n / 2 that the bias about cancels.
    const float n = encoding == Encoding::kAffine4 ? 15.0F : 255.0F;
    const auto groups = static_cast<size_t>(rows * (cols / group_size));
    scales_.resize(groups * dtype_size(scale_dtype));
    biases_.resize(scales_.size());
    std::uniform_real_distribution<float> spread(0.5F, 1.5F);
    size_t at = 0;
    for (size_t g = 0; g < groups; ++g) {
      const float scale = deviation * spread(random) * std::sqrt(12.0F) / n;
      put_float(scale_dtype, -scale * n / 2 * spread(random), biases_.data() + at);
      at += put_float(scale_dtype, scale, scales_.data() + at);
    }
    view_.scales = scales_.data();
    view_.biases = biases_.data();
  } else if (encoding_block(encoding) > 1) {
    // GGUF blocks: any bits are codes and sub-scales; the half-precision scales are put where they belong.
    for (std::byte& b : data_) b = static_cast<std::byte>(random() & 0xffU);
    const auto block = static_cast<size_t>(encoding_block_bytes(encoding));
    std::uniform_real_distribution<float> spread(0.5F, 1.5F);
    for (size_t at = 0; at < data_.size(); at += block) {
      const bool k = encoding_block(encoding) == 256;
      const float scale = spread(random) * deviation / (k ? 200.0F : 8.0F);
      put_float(DType::kF16, scale, data_.data() + at + (encoding == Encoding::kQ6_K ? block - 2 : 0));
      const bool has_minimum = encoding == Encoding::kQ4_1 || encoding == Encoding::kQ5_1 ||
                               encoding == Encoding::kQ4_K || encoding == Encoding::kQ5_K;
      if (has_minimum) put_float(DType::kF16, spread(random) * scale * (k ? 8 : -8), data_.data() + at + 2);
    }
  } else {
    std::normal_distribution<float> normal(0, deviation);
    const DType dtype = encoding == Encoding::kF32   ? DType::kF32
                        : encoding == Encoding::kF16 ? DType::kF16
                                                     : DType::kBF16;
    size_t at = 0;
    for (int64_t i = 0; i < rows * cols; ++i) at += put_float(dtype, normal(random), data_.data() + at);
  }
  view_.data = data_.data();
}

std::vector<float> random_floats(int64_t count, uint32_t seed, float deviation) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, deviation);
  std::vector<float> values(static_cast<size_t>(count));
  for (float& v : values) v = normal(random);
  return values;
}

double relative_rms(const std::vector<float>& a, const std::vector<float>& b) {
  double error = 0;
  double norm = 0;
  for (size_t i = 0; i < b.size(); ++i) {
    const double d = double{a[i]} - b[i];
    error += d * d;
    norm += double{b[i]} * b[i];
  }
  return std::sqrt(error / norm);
}

}  // namespace facet::testing
