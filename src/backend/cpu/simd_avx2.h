// Sixteen lanes on AVX2 + FMA + F16C: two registers side by side. Included by isa_avx2.cc alone.
#pragma once

#include <immintrin.h>
#include <stdint.h>

namespace facet::cpu {

struct Avx2 {
  // Register blocks that fit 16 registers of 8 floats.
  static constexpr int kDotTiles = 1, kDotTokens = 4;      // int8 products: tiles × tokens
  static constexpr int kDotChains = 1;                     // sums a token while several tokens stream
  static constexpr bool kHoldsGroup = false;               // Partial is 16 bits wide
  static constexpr int kFloatTiles = 1, kFloatTokens = 5;  // f32 products
  static constexpr int kLatencyTiles = 4;  // tiles at once for one token: hides the FMA's latency
  static constexpr int kQueryBlock = 2, kKeyBlock = 2;  // attention
  static constexpr int kDirectQueryBlock = 4, kDirectKeyBlock = 1,
                       kDirectQueries = 8;  // widening in registers
  static constexpr int kDirectSlots = 16;   // keys that these take at a time
  static constexpr int kPeakChains = 6;     // independent FMA chains that keep the units busy

  // --- sixteen floats -----------------------------------------------------------------------------------
  struct F {
    __m256 a, b;
  };
  static F zero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
  static F set1(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
  static F load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
  static void store(float* p, F x) {
    _mm256_storeu_ps(p, x.a);
    _mm256_storeu_ps(p + 8, x.b);
  }
  static F add(F x, F y) { return {_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)}; }
  static F sub(F x, F y) { return {_mm256_sub_ps(x.a, y.a), _mm256_sub_ps(x.b, y.b)}; }
  static F mul(F x, F y) { return {_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)}; }
  static F div(F x, F y) { return {_mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b)}; }
  static F max(F x, F y) { return {_mm256_max_ps(x.a, y.a), _mm256_max_ps(x.b, y.b)}; }
  static F min(F x, F y) { return {_mm256_min_ps(x.a, y.a), _mm256_min_ps(x.b, y.b)}; }
  /// x · y + z
  static F fma(F x, F y, F z) { return {_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)}; }
  static F abs(F x) {
    const __m256 sign = _mm256_set1_ps(-0.0F);
    return {_mm256_andnot_ps(sign, x.a), _mm256_andnot_ps(sign, x.b)};
  }
  static F round(F x) {
    constexpr int kNearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
    return {_mm256_round_ps(x.a, kNearest), _mm256_round_ps(x.b, kNearest)};
  }
  /// 2^n for integral n in [−126, 127].
  static F pow2(F n) { return {pow2_half(n.a), pow2_half(n.b)}; }
  static float reduce_add(F x) {
    const __m256 s = _mm256_add_ps(x.a, x.b);
    __m128 t = _mm_add_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1));
    t = _mm_add_ps(t, _mm_movehl_ps(t, t));
    return _mm_cvtss_f32(_mm_add_ss(t, _mm_movehdup_ps(t)));
  }
  static float reduce_max(F x) {
    const __m256 s = _mm256_max_ps(x.a, x.b);
    __m128 t = _mm_max_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1));
    t = _mm_max_ps(t, _mm_movehl_ps(t, t));
    return _mm_cvtss_f32(_mm_max_ss(t, _mm_movehdup_ps(t)));
  }
  /// x where lane < n, else y.
  static F first_lanes(F x, F y, int n) {
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    const __m256i count = _mm256_set1_epi32(n);
    const __m256 low = _mm256_castsi256_ps(_mm256_cmpgt_epi32(count, lane));
    const __m256 high =
        _mm256_castsi256_ps(_mm256_cmpgt_epi32(count, _mm256_add_epi32(lane, _mm256_set1_epi32(8))));
    return {_mm256_blendv_ps(y.a, x.a, low), _mm256_blendv_ps(y.b, x.b, high)};
  }

  /// A bit for every lane whose magnitude is above `limit`.
  static uint32_t lanes_above(F x, float limit) {
    const F above = compare_above(x, limit);
    return static_cast<uint32_t>(_mm256_movemask_ps(above.a)) |
           static_cast<uint32_t>(_mm256_movemask_ps(above.b)) << 8;
  }
  /// x, but 0 where its magnitude is above `limit`.
  static F zero_above(F x, float limit) {
    const F above = compare_above(x, limit);
    return {_mm256_andnot_ps(above.a, x.a), _mm256_andnot_ps(above.b, x.b)};
  }

  // --- narrower types widened to sixteen floats ---------------------------------------------------------
  static F load_bf16(const void* p) { return {bf16_half(p, 0), bf16_half(p, 1)}; }
  static F load_f16(const void* p) {
    const auto* h = static_cast<const __m128i*>(p);
    return {_mm256_cvtph_ps(_mm_loadu_si128(h)), _mm256_cvtph_ps(_mm_loadu_si128(h + 1))};
  }
  static F load_i8(const void* p) {
    const auto* h = static_cast<const char*>(p);
    return {i8_half(h), i8_half(h + 8)};
  }
  /// Sixteen pairs of bf16: the first of each pair and the second.
  static void load_bf16_pairs(const void* p, F& first, F& second) {
    const auto* w = static_cast<const __m256i*>(p);
    const __m256i a = _mm256_loadu_si256(w);
    const __m256i b = _mm256_loadu_si256(w + 1);
    const __m256i high = _mm256_set1_epi32(static_cast<int>(0xffff0000U));
    first = {_mm256_castsi256_ps(_mm256_slli_epi32(a, 16)), _mm256_castsi256_ps(_mm256_slli_epi32(b, 16))};
    second = {_mm256_castsi256_ps(_mm256_and_si256(a, high)), _mm256_castsi256_ps(_mm256_and_si256(b, high))};
  }
  /// Sixteen integral floats in −128 … 127 as int8.
  static void store_i8(int8_t* p, F x) {
    const __m256i words = _mm256_packs_epi32(_mm256_cvtps_epi32(x.a), _mm256_cvtps_epi32(x.b));
    const __m256i ordered = _mm256_permute4x64_epi64(words, 0xd8);
    const __m128i bytes =
        _mm_packs_epi16(_mm256_castsi256_si128(ordered), _mm256_extracti128_si256(ordered, 1));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), bytes);
  }

  // --- integer dot products: sixteen rows, four columns a step ---------------------------------------------
  /// Sixteen 32-bit sums.
  struct I {
    __m256i a, b;
  };
  static I zero_int() { return {_mm256_setzero_si256(), _mm256_setzero_si256()}; }
  static F to_float(I x) { return {_mm256_cvtepi32_ps(x.a), _mm256_cvtepi32_ps(x.b)}; }
  static I add_int(I x, I y) { return {_mm256_add_epi32(x.a, y.a), _mm256_add_epi32(x.b, y.b)}; }

  static I load_int(const unsigned char* p) {
    const auto* w = reinterpret_cast<const __m256i*>(p);
    return {_mm256_load_si256(w), _mm256_load_si256(w + 1)};
  }
  static void store_int(unsigned char* p, I x) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), x.a);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p) + 1, x.b);
  }

  /// Bits [shift, shift + bits) of every lane.
  static I extract_bits(I x, int shift, int bits) {
    const __m128i by = _mm_cvtsi32_si128(shift);
    const __m256i mask = _mm256_set1_epi32((1 << bits) - 1);
    return {_mm256_and_si256(_mm256_srl_epi32(x.a, by), mask),
            _mm256_and_si256(_mm256_srl_epi32(x.b, by), mask)};
  }

  /// Sixteen rows of four unsigned codes.
  struct Codes {
    __m256i a, b;
  };
  static Codes load_codes(const unsigned char* p) {
    const auto* w = reinterpret_cast<const __m256i*>(p);
    return {_mm256_load_si256(w), _mm256_load_si256(w + 1)};
  }
  static void store_codes(unsigned char* p, Codes c) {
    auto* w = reinterpret_cast<__m256i*>(p);
    _mm256_store_si256(w, c.a);
    _mm256_store_si256(w + 1, c.b);
  }
  static Codes low_nibbles(Codes c) {
    const __m256i mask = _mm256_set1_epi8(15);
    return {_mm256_and_si256(c.a, mask), _mm256_and_si256(c.b, mask)};
  }
  static Codes high_nibbles(Codes c) {
    return low_nibbles({_mm256_srli_epi16(c.a, 4), _mm256_srli_epi16(c.b, 4)});
  }

  /// Dot products of up to 32 columns in flight. 4-bit codes: sums of two products ≤ 2 · 15 · 127 = 3,810,
  /// eight of which fit 16 bits; 8-bit codes are taken a nibble at a time for the same bound.
  template <int kBits>
  struct Partial;
  /// Codes split as `add` wants them.
  template <int kBits>
  struct Split;

  template <int kBits>
  static Partial<kBits> zero_partial();
  template <int kBits>
  static Split<kBits> split(Codes c);
  /// partial += codes · x over four columns; x: four int8.
  static void add(Partial<4>& p, const Split<4>& c, const int8_t* x);
  static void add(Partial<8>& p, const Split<8>& c, const int8_t* x);
  static void fold(I& sum, const Partial<4>& p);
  static void fold(I& sum, const Partial<8>& p);

 private:
  static F compare_above(F x, float limit) {
    const F magnitude = abs(x);
    const __m256 bound = _mm256_set1_ps(limit);
    return {_mm256_cmp_ps(magnitude.a, bound, _CMP_GT_OQ), _mm256_cmp_ps(magnitude.b, bound, _CMP_GT_OQ)};
  }
  static __m256 pow2_half(__m256 n) {
    return _mm256_castsi256_ps(
        _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23));
  }
  static __m256 bf16_half(const void* p, int half) {
    const __m128i h = _mm_loadu_si128(static_cast<const __m128i*>(p) + half);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16));
  }
  static __m256 i8_half(const char* p) {
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
  }
  static __m256i broadcast4(const int8_t* x) {
    int four = 0;
    __builtin_memcpy(&four, x, 4);
    return _mm256_set1_epi32(four);
  }
};

template <>
struct Avx2::Partial<4> {
  __m256i a, b;
};
template <>
struct Avx2::Partial<8> {
  __m256i low_a, low_b, high_a, high_b;
};
template <>
struct Avx2::Split<4> {
  Codes codes;
};
template <>
struct Avx2::Split<8> {
  Codes low, high;
};

template <>
inline Avx2::Partial<4> Avx2::zero_partial<4>() {
  return {_mm256_setzero_si256(), _mm256_setzero_si256()};
}
template <>
inline Avx2::Partial<8> Avx2::zero_partial<8>() {
  const __m256i z = _mm256_setzero_si256();
  return {z, z, z, z};
}
template <>
inline Avx2::Split<4> Avx2::split<4>(Codes c) {
  return {c};
}
template <>
inline Avx2::Split<8> Avx2::split<8>(Codes c) {
  return {low_nibbles(c), high_nibbles(c)};
}

/// Computes `sum` here and now: g++ 12 would move all additions of an unrolled loop behind its products and
/// spill every one of them.
inline void pin(__m256i& sum) {
  asm("" : "+x"(sum));
}

inline void Avx2::add(Partial<4>& p, const Split<4>& c, const int8_t* x) {
  const __m256i four = broadcast4(x);
  p.a = _mm256_add_epi16(p.a, _mm256_maddubs_epi16(c.codes.a, four));
  p.b = _mm256_add_epi16(p.b, _mm256_maddubs_epi16(c.codes.b, four));
  pin(p.a);
  pin(p.b);
}
inline void Avx2::add(Partial<8>& p, const Split<8>& c, const int8_t* x) {
  const __m256i four = broadcast4(x);
  p.low_a = _mm256_add_epi16(p.low_a, _mm256_maddubs_epi16(c.low.a, four));
  p.low_b = _mm256_add_epi16(p.low_b, _mm256_maddubs_epi16(c.low.b, four));
  p.high_a = _mm256_add_epi16(p.high_a, _mm256_maddubs_epi16(c.high.a, four));
  p.high_b = _mm256_add_epi16(p.high_b, _mm256_maddubs_epi16(c.high.b, four));
  pin(p.low_a);
  pin(p.low_b);
  pin(p.high_a);
  pin(p.high_b);
}
inline void Avx2::fold(I& sum, const Partial<4>& p) {
  const __m256i ones = _mm256_set1_epi16(1);
  sum.a = _mm256_add_epi32(sum.a, _mm256_madd_epi16(p.a, ones));
  sum.b = _mm256_add_epi32(sum.b, _mm256_madd_epi16(p.b, ones));
}
inline void Avx2::fold(I& sum, const Partial<8>& p) {
  const __m256i ones = _mm256_set1_epi16(1);
  const __m256i sixteens = _mm256_set1_epi16(16);
  sum.a = _mm256_add_epi32(
      sum.a, _mm256_add_epi32(_mm256_madd_epi16(p.low_a, ones), _mm256_madd_epi16(p.high_a, sixteens)));
  sum.b = _mm256_add_epi32(
      sum.b, _mm256_add_epi32(_mm256_madd_epi16(p.low_b, ones), _mm256_madd_epi16(p.high_b, sixteens)));
}

}  // namespace facet::cpu
