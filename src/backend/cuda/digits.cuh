// Activations of a decode step as the integer tensor cores take them.
#pragma once

#include "backend/cuda/tiles.cuh"

namespace facet::cuda::persistent {

/// Activations as the integer tensor cores take them: 16 bits of the largest of a warp's columns, in two
/// digits, x ≈ scale · (256 · high + low). A row takes two of the mma's eight columns, and sums are exact.
template <int kRows>
struct Digits {
  static constexpr int kColumns = 2 * kRows;      // of the mma: high and low of row r in 2r and 2r + 1
  static constexpr int kTiles = 2;                // of a warp
  static constexpr int kStride = kTiles * 4 + 4;  // vectors between columns: two are read at once
  static constexpr int kVectors = kColumns * kStride;
};
constexpr float kMostDigits = 127.0F * 256.0F;
constexpr float kLeast = 1e-30F;  // that an input is told from zero by
constexpr float kIntegers = 12582912.0F;
constexpr uint32_t kIntegerBits = 0x4b400000;

/// c [16, 8] += a [16, 32] · b [32, 8]: codes times digits.
__device__ inline void multiply_add(int (&c)[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3,
                                    uint32_t b0, uint32_t b1) {
  asm("mma.sync.aligned.m16n8k32.row.col.s32.u8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
      : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}

/// Four columns of a warp's input as digits. Of one tile, both halves of the warp have all; of two, a half
/// each.
struct LaneDigits {
  // High digit and low, the low one plus 128, as the two lowest bytes.
  uint32_t two[4];
  float scale;  // of all of the warp's columns
  int sum;      // of what this lane's stand for, in units of it

  __device__ explicit LaneDigits(const float4& input) {
    const float v[4] = {input.x, input.y, input.z, input.w};
    // Not negative, so their order is that of their bits.
    const float own = fmaxf(fmaxf(fabsf(v[0]), fabsf(v[1])), fmaxf(fabsf(v[2]), fabsf(v[3])));
    const float most = __uint_as_float(__reduce_max_sync(0xffffffffU, __float_as_uint(own)));
    scale = most * (1.0F / kMostDigits);
    const float inverse = kMostDigits * reciprocal(fmaxf(most, kLeast));
#pragma unroll
    for (int j = 0; j < 4; ++j) two[j] = __float_as_uint(fmaf(v[j], inverse, kIntegers + 128.0F));
    sum = static_cast<int>(two[0] + two[1] + two[2] + two[3] - 4U * (kIntegerBits + 128U));
  }

  /// To where a tile's high digits, and its low ones, lie: four lanes fill a vector, in the order in which
  /// the codes come out of their words: nibbles even columns first, bytes as they lie.
  __device__ void leave(bool nibbles, int lane, uint4* high, uint4* low) const {
    // Both columns' high digits, then their low ones.
    const uint32_t even = __byte_perm(two[0], two[2], 0x4051) ^ 0x80800000U;
    const uint32_t odd = __byte_perm(two[1], two[3], 0x4051) ^ 0x80800000U;
    const int vector = lane % 16 / 4;
    if (nibbles) {
      const int half = lane % 4 / 2 * 4 + lane % 2;
      auto* const highs = reinterpret_cast<uint16_t*>(high + vector) + half;
      auto* const lows = reinterpret_cast<uint16_t*>(low + vector) + half;
      highs[0] = static_cast<uint16_t>(even);
      highs[2] = static_cast<uint16_t>(odd);
      lows[0] = static_cast<uint16_t>(even >> 16);
      lows[2] = static_cast<uint16_t>(odd >> 16);
    } else {
      reinterpret_cast<uint32_t*>(high + vector)[lane % 4] = __byte_perm(even, odd, 0x5140);
      reinterpret_cast<uint32_t*>(low + vector)[lane % 4] = __byte_perm(even, odd, 0x7362);
    }
  }
};

/// A lane's digits of a tile, and of its activation row the scale, the same for all of a warp's tiles, and
/// the sum of what they stand for in units of it.
struct DigitTile {
  uint4 digits;
  float scale, sum;
};

/// c = the tile's codes times the digits.
template <Codes kCodes>
__device__ inline void multiply_codes(const Tile<kCodes>& tile, const DigitTile& x, int (&c)[4]) {
#pragma unroll
  for (int& sum : c) sum = 0;
  if constexpr (kCodes == Codes::kQ4) {
    constexpr uint32_t kLow = 0x0f0f0f0fU;
    const uint4& w = tile.codes[0];
    multiply_add(c, w.x & kLow, w.z & kLow, (w.x >> 4) & kLow, (w.z >> 4) & kLow, x.digits.x, x.digits.y);
    multiply_add(c, w.y & kLow, w.w & kLow, (w.y >> 4) & kLow, (w.w >> 4) & kLow, x.digits.z, x.digits.w);
  } else {
    const uint4& a = tile.codes[0];
    const uint4& b = tile.codes[1];
    multiply_add(c, a.x, b.x, a.y, b.y, x.digits.x, x.digits.y);
    multiply_add(c, a.z, b.z, a.w, b.w, x.digits.z, x.digits.w);
  }
}

/// sums += the tile's weights times x, in units of x's scale. `pairs`: its scales and biases.
__device__ inline void add_products(const int (&c)[4], const uint2& pairs, const DigitTile& x,
                                    TileSums<1>& sums) {
  const auto value = [](int high, int low) { return static_cast<float>(high * 256 + low); };
  const auto scale = [](uint32_t pair) { return __uint_as_float(pair << 16); };
  const auto bias = [](uint32_t pair) { return __uint_as_float(pair & 0xffff0000U); };
  sums.a[0] = fmaf(value(c[0], c[1]), scale(pairs.x), fmaf(bias(pairs.x), x.sum, sums.a[0]));
  sums.b[0] = fmaf(value(c[2], c[3]), scale(pairs.y), fmaf(bias(pairs.y), x.sum, sums.b[0]));
}

}  // namespace facet::cuda::persistent
