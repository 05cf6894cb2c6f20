#include "quant/dequantize.h"

#include <cmath>

namespace facet {
namespace {

void floats(const MatrixView& m, int64_t row, DType dtype, float* out) noexcept {
  const std::byte* data = m.data + row * m.row_bytes();
  for (int64_t i = 0; i < m.cols; ++i) out[i] = load_float(dtype, data, i);
}

/// MLX's affine groups: w = scale·q + bias.
void affine(const MatrixView& m, int64_t row, float* out) noexcept {
  const std::byte* codes = m.data + row * m.row_bytes();
  const int64_t groups = m.cols / m.group_size;
  for (int64_t i = 0; i < m.cols; ++i) {
    const int64_t group = row * groups + i / m.group_size;
    const float scale = load_float(m.scale_dtype, m.scales, group);
    const float bias = load_float(m.scale_dtype, m.biases, group);
    const auto byte = static_cast<unsigned>(codes[m.encoding == Encoding::kAffine4 ? i / 2 : i]);
    const unsigned q = m.encoding == Encoding::kAffine8 ? byte : (i % 2 == 0 ? byte & 15U : byte >> 4);
    out[i] = std::fma(scale, static_cast<float>(q), bias);
  }
}

}  // namespace

void dequantize_row(const MatrixView& m, int64_t row, float* out) noexcept {
  switch (m.encoding) {
    case Encoding::kF32: return floats(m, row, DType::kF32, out);
    case Encoding::kF16: return floats(m, row, DType::kF16, out);
    case Encoding::kBF16: return floats(m, row, DType::kBF16, out);
    case Encoding::kAffine4:
    case Encoding::kAffine8: return affine(m, row, out);
    default:
      // The readers refuse an encoding they cannot serve, so no block format gets here yet.
      for (int64_t i = 0; i < m.cols; ++i) out[i] = NAN;
  }
}

}  // namespace facet
