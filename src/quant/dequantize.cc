#include "quant/dequantize.h"

#include <cmath>

#include "quant/blocks.h"

namespace facet {
namespace {

void floats(const MatrixView& m, int64_t row, DType dtype, float* out) noexcept {
  const std::byte* data = m.data + row * m.row_bytes();
  for (int64_t i = 0; i < m.cols; ++i) out[i] = load_float(dtype, data, i);
}

/// out[i] = scale · q[i] + bias, rounded once. A code has 8 bits and a 16-bit scale at most 11: their product
/// is exact, so that a plain sum rounds as std::fma does, in vectors on every machine.
template <class Code>
void affine_group(int64_t count, float scale, float bias, bool short_scale, Code code, float* out) noexcept {
  if (short_scale) {
    for (int64_t i = 0; i < count; ++i) out[i] = scale * static_cast<float>(code(i)) + bias;
  } else {
    for (int64_t i = 0; i < count; ++i) out[i] = std::fma(scale, static_cast<float>(code(i)), bias);
  }
}

/// MLX's affine groups: w = scale·q + bias.
void affine(const MatrixView& m, int64_t row, float* out) noexcept {
  const auto* codes = reinterpret_cast<const uint8_t*>(m.data + row * m.row_bytes());
  const int64_t groups = m.cols / m.group_size;
  const bool short_scale = m.scale_dtype != DType::kF32;
  for (int64_t g = 0; g < groups; ++g, out += m.group_size) {
    const float scale = load_float(m.scale_dtype, m.scales, row * groups + g);
    const float bias = load_float(m.scale_dtype, m.biases, row * groups + g);
    if (m.encoding == Encoding::kAffine8) {
      const auto code = [&](int64_t i) { return int{codes[i]}; };
      affine_group(m.group_size, scale, bias, short_scale, code, out);
      codes += m.group_size;
    } else {
      const auto code = [&](int64_t i) { return codes[i / 2] >> (i % 2 * 4) & 15; };
      affine_group(m.group_size, scale, bias, short_scale, code, out);
      codes += m.group_size / 2;
    }
  }
}

using DecodeBlock = void (*)(const std::byte* block, float* out) noexcept;

void blocks(const MatrixView& m, int64_t row, DecodeBlock decode, float* out) noexcept {
  const int block = encoding_block(m.encoding);
  const std::byte* data = m.data + row * m.row_bytes();
  for (int64_t i = 0; i < m.cols / block; ++i)
    decode(data + i * encoding_block_bytes(m.encoding), out + i * block);
}

}  // namespace

void dequantize_row(const MatrixView& m, int64_t row, float* out) noexcept {
  switch (m.encoding) {
    case Encoding::kF32: return floats(m, row, DType::kF32, out);
    case Encoding::kF16: return floats(m, row, DType::kF16, out);
    case Encoding::kBF16: return floats(m, row, DType::kBF16, out);
    case Encoding::kAffine4:
    case Encoding::kAffine8: return affine(m, row, out);
    case Encoding::kQ4_0: return blocks(m, row, decode_q4_0, out);
    case Encoding::kQ4_1: return blocks(m, row, decode_q4_1, out);
    case Encoding::kQ5_0: return blocks(m, row, decode_q5_0, out);
    case Encoding::kQ5_1: return blocks(m, row, decode_q5_1, out);
    case Encoding::kQ8_0: return blocks(m, row, decode_q8_0, out);
    case Encoding::kQ2_K: return blocks(m, row, decode_q2_k, out);
    case Encoding::kQ3_K: return blocks(m, row, decode_q3_k, out);
    case Encoding::kQ4_K: return blocks(m, row, decode_q4_k, out);
    case Encoding::kQ5_K: return blocks(m, row, decode_q5_k, out);
    case Encoding::kQ6_K: return blocks(m, row, decode_q6_k, out);
    case Encoding::kIQ4_NL: return blocks(m, row, decode_iq4_nl, out);
    case Encoding::kIQ4_XS: return blocks(m, row, decode_iq4_xs, out);
  }
}

}  // namespace facet
