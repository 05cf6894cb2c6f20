#include <array>
#include <cstdint>

#include "quant/blocks.h"
#include "tensor/dtype.h"

namespace facet {
namespace {

// The 16 levels, denser around zero (ggml's kvalues_iq4nl).
constexpr std::array<float, 16> kLevels = {-127, -104, -83, -65, -49, -35, -22, -10,
                                           1,    13,   25,  38,  53,  69,  89,  113};

/// 16 bytes of codes: elements 0 to 15 in the low nibbles, 16 to 31 in the high ones.
void decode_levels(const std::byte* codes, float scale, float* out) noexcept {
  for (int i = 0; i < 16; ++i) {
    out[i] = scale * kLevels[std::to_integer<size_t>(codes[i] & std::byte{15})];
    out[i + 16] = scale * kLevels[std::to_integer<size_t>(codes[i] >> 4)];
  }
}

}  // namespace

void decode_iq4_nl(const std::byte* block, float* out) noexcept {
  decode_levels(block + 2, load_float(DType::kF16, block, 0), out);
}

void decode_iq4_xs(const std::byte* block, float* out) noexcept {
  const float d = load_float(DType::kF16, block, 0);
  uint16_t high = 0;  // the top 2 bits of the 8 scales
  std::memcpy(&high, block + 2, sizeof high);
  const std::byte* low = block + 4;  // [4] their low nibbles
  for (int j = 0; j < 8; ++j) {
    const int nibble = std::to_integer<int>(low[j / 2]) >> (j % 2 * 4) & 15;
    const int scale = (nibble | (high >> (2 * j) & 3) << 4) - 32;
    decode_levels(block + 8 + 16 * j, d * static_cast<float>(scale), out + 32 * j);
  }
}

}  // namespace facet
