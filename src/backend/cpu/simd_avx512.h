// Sixteen lanes on AVX-512 with VNNI: one register. Included by isa_avx512.cc alone.
#pragma once

#include <immintrin.h>
#include <stdint.h>

namespace facet::cpu {

struct Avx512 {
  // Register blocks that fit 32 registers of 16 floats.
  static constexpr int kDotTiles = 2, kDotTokens = 6;      // int8 products: tiles × tokens
  static constexpr int kDotChains = 2;                     // sums a token while several tokens stream
  static constexpr bool kHoldsGroup = true;                // Partial is 32 bits wide
  static constexpr int kFloatTiles = 2, kFloatTokens = 8;  // f32 products
  static constexpr int kLatencyTiles = 8;  // tiles at once for one token: hides the FMA's latency
  static constexpr int kQueryBlock = 4, kKeyBlock = 4;  // attention
  static constexpr int kDirectQueryBlock = 8, kDirectKeyBlock = 2,
                       kDirectQueries = 8;  // widening in registers
  static constexpr int kDirectSlots = 64;   // keys that these take at a time
  static constexpr int kPeakChains = 12;    // independent FMA chains that keep the units busy

  // --- sixteen floats -----------------------------------------------------------------------------------
  using F = __m512;
  static F zero() { return _mm512_setzero_ps(); }
  static F set1(float x) { return _mm512_set1_ps(x); }
  static F load(const float* p) { return _mm512_loadu_ps(p); }
  static void store(float* p, F x) { _mm512_storeu_ps(p, x); }
  static F add(F x, F y) { return _mm512_add_ps(x, y); }
  static F sub(F x, F y) { return _mm512_sub_ps(x, y); }
  static F mul(F x, F y) { return _mm512_mul_ps(x, y); }
  static F div(F x, F y) { return _mm512_div_ps(x, y); }
  static F max(F x, F y) { return _mm512_max_ps(x, y); }
  static F min(F x, F y) { return _mm512_min_ps(x, y); }
  /// x · y + z
  static F fma(F x, F y, F z) { return _mm512_fmadd_ps(x, y, z); }
  static F abs(F x) { return _mm512_abs_ps(x); }
  static F round(F x) { return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
  /// 2^n for integral n in [−126, 127].
  static F pow2(F n) {
    return _mm512_castsi512_ps(
        _mm512_slli_epi32(_mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127)), 23));
  }
  static float reduce_add(F x) { return _mm512_reduce_add_ps(x); }
  /// Lane i: reduce_add(x[i]), to the bit. Each step adds the halves of two vectors and puts them side by
  /// side.
  static F reduce_add_each(const F (&x)[16]) {
    const auto at = [&](int i) { return x[i % 4 * 4 + i / 4]; };  // the last two steps interleave
    F eighths[8];
    for (int i = 0; i < 8; ++i) {
      const F a = at(2 * i);
      const F b = at(2 * i + 1);
      eighths[i] = add(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xee));
    }
    F fourths[4];
    for (int i = 0; i < 4; ++i) {
      const F a = eighths[2 * i];
      const F b = eighths[2 * i + 1];
      fourths[i] = add(_mm512_shuffle_f32x4(a, b, 0x88), _mm512_shuffle_f32x4(a, b, 0xdd));
    }
    F halves[2];
    for (int i = 0; i < 2; ++i) {
      const F a = fourths[2 * i];
      const F b = fourths[2 * i + 1];
      halves[i] = add(_mm512_shuffle_ps(a, b, 0x44), _mm512_shuffle_ps(a, b, 0xee));
    }
    return add(_mm512_shuffle_ps(halves[0], halves[1], 0x88), _mm512_shuffle_ps(halves[0], halves[1], 0xdd));
  }
  static float reduce_max(F x) { return _mm512_reduce_max_ps(x); }
  /// x where lane < n, else y.
  static F first_lanes(F x, F y, int n) {
    const auto mask = static_cast<__mmask16>(n >= 16 ? 0xffffU : n <= 0 ? 0U : (1U << n) - 1U);
    return _mm512_mask_blend_ps(mask, y, x);
  }

  /// A bit for every lane whose magnitude is above `limit`.
  static uint32_t lanes_above(F x, float limit) {
    return _mm512_cmp_ps_mask(abs(x), _mm512_set1_ps(limit), _CMP_GT_OQ);
  }
  /// x, but 0 where its magnitude is above `limit`.
  static F zero_above(F x, float limit) {
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(abs(x), _mm512_set1_ps(limit), _CMP_GT_OQ), x, zero());
  }

  // --- narrower types widened to sixteen floats ---------------------------------------------------------
  static F load_bf16(const void* p) {
    const __m256i h = _mm256_loadu_si256(static_cast<const __m256i*>(p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16));
  }
  static F load_f16(const void* p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(static_cast<const __m256i*>(p)));
  }
  static F load_i8(const void* p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(static_cast<const __m128i*>(p))));
  }
  /// Sixteen pairs of bf16: the first of each pair and the second.
  static void load_bf16_pairs(const void* p, F& first, F& second) {
    const __m512i w = _mm512_loadu_si512(p);
    first = _mm512_castsi512_ps(_mm512_slli_epi32(w, 16));
    second = _mm512_castsi512_ps(_mm512_and_si512(w, _mm512_set1_epi32(static_cast<int>(0xffff0000U))));
  }
  /// Sixteen integral floats in −128 … 127 as int8.
  static void store_i8(int8_t* p, F x) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(x)));
  }

  // --- integer dot products: sixteen rows, four columns a step ---------------------------------------------
  using I = __m512i;
  static I zero_int() { return _mm512_setzero_si512(); }
  static F to_float(I x) { return _mm512_cvtepi32_ps(x); }
  static I add_int(I x, I y) { return _mm512_add_epi32(x, y); }
  static I load_int(const unsigned char* p) { return _mm512_load_si512(p); }
  static void store_int(unsigned char* p, I x) { _mm512_storeu_si512(p, x); }

  /// Bits [shift, shift + bits) of every lane.
  static I extract_bits(I x, int shift, int bits) {
    return _mm512_and_si512(_mm512_srl_epi32(x, _mm_cvtsi32_si128(shift)),
                            _mm512_set1_epi32((1 << bits) - 1));
  }

  /// Sixteen rows of four unsigned codes.
  using Codes = __m512i;
  static Codes load_codes(const unsigned char* p) { return _mm512_load_si512(p); }
  static void store_codes(unsigned char* p, Codes c) { _mm512_store_si512(p, c); }
  static Codes low_nibbles(Codes c) { return _mm512_and_si512(c, _mm512_set1_epi8(15)); }
  static Codes high_nibbles(Codes c) { return low_nibbles(_mm512_srli_epi16(c, 4)); }

  /// VPDPBUSD sums straight into 32 bits.
  template <int kBits>
  struct Partial {
    I sum;
  };
  template <int kBits>
  struct Split {
    Codes codes;
  };
  template <int kBits>
  static Partial<kBits> zero_partial() {
    return {_mm512_setzero_si512()};
  }
  template <int kBits>
  static Split<kBits> split(Codes c) {
    return {c};
  }
  /// partial += codes · x over four columns; x: four int8.
  template <int kBits>
  static void add(Partial<kBits>& p, const Split<kBits>& c, const int8_t* x) {
    int four = 0;
    __builtin_memcpy(&four, x, 4);
    p.sum = _mm512_dpbusd_epi32(p.sum, c.codes, _mm512_set1_epi32(four));
    pin(p.sum);
  }
  template <int kBits>
  static void fold(I& sum, const Partial<kBits>& p) {
    sum = _mm512_add_epi32(sum, p.sum);
  }

 private:
  /// Keeps a sum in its register: g++ 12 gives the product's result another one and copies each sum twice a
  /// round, on the ports that multiply.
  static void pin(I& sum) {
#if defined(__AVX512F__)  // not so where the instructions are emulated
    asm("" : "+v"(sum));
#else
    static_cast<void>(sum);
#endif
  }
};

}  // namespace facet::cpu
