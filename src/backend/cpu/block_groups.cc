#include "backend/cpu/block_groups.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "quant/blocks.h"
#include "tensor/dtype.h"

namespace facet::cpu {
namespace {

float half(const std::byte* at) noexcept {
  return load_float(DType::kF16, at, 0);
}
int byte_at(const std::byte* at, int i) noexcept {
  return std::to_integer<int>(at[i]);
}

/// Scales and minimums of q4_k and q5_k: 6 bits each, packed as k_blocks.cc describes.
void k_scales(const std::byte* block, float* scales, float* biases) noexcept {
  const float d = half(block);
  const float m = half(block + 2);
  const std::byte* packed = block + 4;
  for (int j = 0; j < 8; ++j) {
    const int low = byte_at(packed, j + 4);
    const int scale = j < 4 ? byte_at(packed, j) & 63 : (low & 15) | (byte_at(packed, j - 4) >> 6) << 4;
    const int minimum = j < 4 ? low & 63 : (low >> 4) | (byte_at(packed, j) >> 6) << 4;
    scales[j] = d * static_cast<float>(scale);
    biases[j] = -m * static_cast<float>(minimum);
  }
}

/// Decodes a block that is not copied and writes its groups' scales and biases. Codes follow from the two:
/// values are evenly spaced.
void decode(Encoding encoding, const std::byte* block, float* values, float* scales, float* biases) noexcept {
  switch (encoding) {
    case Encoding::kQ4_1:
      decode_q4_1(block, values);
      scales[0] = half(block);
      biases[0] = half(block + 2);
      break;
    case Encoding::kQ5_0:
      decode_q5_0(block, values);
      scales[0] = half(block);
      biases[0] = -16 * scales[0];
      break;
    case Encoding::kQ5_1:
      decode_q5_1(block, values);
      scales[0] = half(block);
      biases[0] = half(block + 2);
      break;
    case Encoding::kQ5_K:
      decode_q5_k(block, values);
      k_scales(block, scales, biases);
      break;
    case Encoding::kQ6_K:
      decode_q6_k(block, values);
      for (int j = 0; j < 16; ++j) {
        scales[j] = half(block + 208) * static_cast<float>(static_cast<int8_t>(block[192 + j]));
        biases[j] = -32 * scales[j];
      }
      break;
    default: break;
  }
}

/// The formats that most files are made of, without the way through floats; false for the others.
bool take_codes(Encoding encoding, const std::byte* block, uint8_t* codes, float* scales,
                float* biases) noexcept {
  switch (encoding) {
    case Encoding::kQ4_0:
      scales[0] = half(block);
      biases[0] = -8 * scales[0];
      for (int i = 0; i < 16; ++i) {
        codes[i] = static_cast<uint8_t>(byte_at(block, 2 + i) & 15);
        codes[i + 16] = static_cast<uint8_t>(byte_at(block, 2 + i) >> 4);
      }
      break;
    case Encoding::kQ8_0:
      scales[0] = half(block);
      biases[0] = -128 * scales[0];
      for (int i = 0; i < 32; ++i) codes[i] = static_cast<uint8_t>(byte_at(block, 2 + i) ^ 0x80);
      break;
    case Encoding::kQ4_K:
      k_scales(block, scales, biases);
      for (int pair = 0; pair < 4; ++pair) {  // 32 bytes are two groups: the low nibbles, then the high ones
        for (int i = 0; i < 32; ++i) {
          const int packed = byte_at(block, 16 + pair * 32 + i);
          codes[pair * 64 + i] = static_cast<uint8_t>(packed & 15);
          codes[pair * 64 + 32 + i] = static_cast<uint8_t>(packed >> 4);
        }
      }
      break;
    default: return false;
  }
  if (!std::isfinite(scales[0]) || !std::isfinite(biases[0]))
    std::fill_n(codes, encoding_block(encoding), uint8_t{0});
  return true;
}

}  // namespace

std::optional<GroupForm> group_form(Encoding encoding) noexcept {
  switch (encoding) {
    case Encoding::kQ4_0:
    case Encoding::kQ4_1: return GroupForm{TileKind::kQ4, ScaleKind::kF16, 32};
    case Encoding::kQ5_0:
    case Encoding::kQ5_1:
    case Encoding::kQ8_0: return GroupForm{TileKind::kQ8, ScaleKind::kF16, 32};
    case Encoding::kQ4_K: return GroupForm{TileKind::kQ4, ScaleKind::kF32, 32};
    case Encoding::kQ5_K: return GroupForm{TileKind::kQ8, ScaleKind::kF32, 32};
    case Encoding::kQ6_K: return GroupForm{TileKind::kQ8, ScaleKind::kF32, 16};
    default: return std::nullopt;
  }
}

void split_block(Encoding encoding, const std::byte* block, uint8_t* codes, float* scales,
                 float* biases) noexcept {
  if (take_codes(encoding, block, codes, scales, biases)) return;
  std::array<float, kMostBlock> values;
  decode(encoding, block, values.data(), scales, biases);
  const GroupForm form = *group_form(encoding);
  const float most = form.kind == TileKind::kQ4 ? 15 : 255;
  const int elements = encoding_block(encoding);
  for (int i = 0; i < elements; ++i) {
    const int g = i / form.group;
    const float steps = (values[static_cast<size_t>(i)] - biases[g]) / scales[g];
    codes[i] =
        std::isfinite(steps) ? static_cast<uint8_t>(std::lrintf(std::clamp(steps, 0.0F, most))) : uint8_t{0};
  }
}

}  // namespace facet::cpu
