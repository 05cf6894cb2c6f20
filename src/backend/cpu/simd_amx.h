// AVX-512 with AMX's matrix registers beside it. Included by isa_amx.cc alone.
#pragma once

#include "backend/cpu/simd_avx512.h"

namespace facet::cpu {

/// What LDTILECFG reads: the shapes of the eight registers.
struct alignas(64) TileShapes {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};
};

/// Everything but the products of quantised weights with many rows is Avx512's.
struct Amx : Avx512 {
  static constexpr int kTokens = 16;       ///< token rows of a matrix register
  static constexpr int kMostColumns = 64;  ///< columns of a product: bytes of such a row

  /// Shapes the registers for products of `tokens` activation rows with 16 weight rows over `columns`
  /// columns: 0 … 3 for sums, 4 and 5 for activations, 6 and 7 for weights. Released at the end of its life:
  /// what is in use is saved and restored with a thread's state.
  class Shaped {
   public:
    explicit Shaped(int columns) noexcept {
      TileShapes shapes;
      for (int i = 0; i < 8; ++i) {
        shapes.rows[i] = static_cast<uint8_t>(i < 6 ? kTokens : columns / 4);
        shapes.row_bytes[i] = static_cast<uint16_t>(i == 4 || i == 5 ? columns : 64);
      }
      fence();  // g++ 12 does not know that the instruction reads all 64 bytes
      _tile_loadconfig(&shapes);
    }
    ~Shaped() { _tile_release(); }
    Shaped(const Shaped&) = delete;
    Shaped& operator=(const Shaped&) = delete;
  };

  // --- bf16 in pairs -----------------------------------------------------------------------------------
  // Numbers rounded to bf16 are floats whose lower halves are 0; a pair is the first one's upper half below
  // the second's.

  /// To the nearest, ties away from 0.
  static F round_bf16(F x) {
    const I bits = _mm512_add_epi32(_mm512_castps_si512(x), _mm512_set1_epi32(0x8000));
    return _mm512_castsi512_ps(_mm512_and_si512(bits, _mm512_set1_epi32(static_cast<int>(0xffff0000U))));
  }
  /// Pairs of rounded numbers, lane by lane.
  static I side_by_side(F first, F second) {
    return _mm512_or_si512(_mm512_srli_epi32(_mm512_castps_si512(first), 16), _mm512_castps_si512(second));
  }
  /// Thirty-two rounded numbers in a row.
  static I in_order(F low, F high) {
    const I lanes = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    // Lane i takes 16-bit numbers 4 i + 1 and 4 i + 3.
    const I upper = _mm512_add_epi32(_mm512_mullo_epi32(lanes, _mm512_set1_epi32(4 << 16 | 4)),
                                     _mm512_set1_epi32(3 << 16 | 1));
    return _mm512_permutex2var_epi16(_mm512_castps_si512(low), upper, _mm512_castps_si512(high));
  }
  /// Of each 128 bits of x and y, the lower (higher) 64, 16-bit numbers in turns.
  static I interleave_low(I x, I y) { return _mm512_unpacklo_epi16(x, y); }
  static I interleave_high(I x, I y) { return _mm512_unpackhi_epi16(x, y); }
  /// What interleave_low and interleave_high did to the order of 32 columns, undone.
  static void put_in_order(F x, F y, F& low, F& high) {
    const F first = _mm512_shuffle_f32x4(x, y, 0x44);
    const F second = _mm512_shuffle_f32x4(x, y, 0xee);
    low = _mm512_shuffle_f32x4(first, first, 0xd8);
    high = _mm512_shuffle_f32x4(second, second, 0xd8);
  }
  static I load_any(const void* p) { return _mm512_loadu_si512(p); }
  /// Rows of 32-bit lanes become columns.
  static void transpose(I (&x)[16]) {
    I y[16];
    for (int i = 0; i < 16; i += 2) {
      y[i] = _mm512_unpacklo_epi32(x[i], x[i + 1]);
      y[i + 1] = _mm512_unpackhi_epi32(x[i], x[i + 1]);
    }
    for (int i = 0; i < 16; i += 4) {  // x[i + c]: columns c, 4 + c, 8 + c and 12 + c of rows i … i + 3
      x[i] = _mm512_unpacklo_epi64(y[i], y[i + 2]);
      x[i + 1] = _mm512_unpackhi_epi64(y[i], y[i + 2]);
      x[i + 2] = _mm512_unpacklo_epi64(y[i + 1], y[i + 3]);
      x[i + 3] = _mm512_unpackhi_epi64(y[i + 1], y[i + 3]);
    }
    for (int c = 0; c < 4; ++c) {
      const I a = _mm512_shuffle_i32x4(x[c], x[4 + c], 0x88);  // columns c and 8 + c
      const I b = _mm512_shuffle_i32x4(x[c], x[4 + c], 0xdd);  // columns 4 + c and 12 + c
      const I d = _mm512_shuffle_i32x4(x[8 + c], x[12 + c], 0x88);
      const I e = _mm512_shuffle_i32x4(x[8 + c], x[12 + c], 0xdd);
      y[c] = _mm512_shuffle_i32x4(a, d, 0x88);
      y[4 + c] = _mm512_shuffle_i32x4(b, e, 0x88);
      y[8 + c] = _mm512_shuffle_i32x4(a, d, 0xdd);
      y[12 + c] = _mm512_shuffle_i32x4(b, e, 0xdd);
    }
    for (int i = 0; i < 16; ++i) x[i] = y[i];
  }

  // --- lanes apart -------------------------------------------------------------------------------------
  /// x > limit ? a : b
  static F where_above(F x, F limit, F a, F b) {
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(x, limit, _CMP_GT_OQ), b, a);
  }
  /// from ≤ position ≤ to ? a : b
  static F where_within(int32_t position, I from, I to, F a, F b) {
    const I p = _mm512_set1_epi32(position);
    const unsigned outside = _mm512_cmpgt_epi32_mask(from, p) | _mm512_cmpgt_epi32_mask(p, to);
    return _mm512_mask_blend_ps(static_cast<__mmask16>(outside), a, b);
  }
  /// x · 2^n, n in the last bits of `shifted`.
  static F add_exponent(F x, F shifted) {
    return _mm512_castsi512_ps(
        _mm512_add_epi32(_mm512_castps_si512(x), _mm512_slli_epi32(_mm512_castps_si512(shifted), 23)));
  }

  /// g++ 12 takes the matrix loads for reading nothing: what they read must be stored by then.
  static void fence() noexcept { asm volatile("" : : : "memory"); }
};

}  // namespace facet::cpu
