// Sixteen lanes in plain C++, for machines without a better unit. Included by isa_portable.cc alone.
#pragma once

#include <math.h>
#include <stdint.h>

namespace facet::cpu {

struct Portable {
  static constexpr int kDotTiles = 1, kDotTokens = 2;
  static constexpr int kDotChains = 1;
  static constexpr bool kHoldsGroup = true;
  static constexpr int kFloatTiles = 1, kFloatTokens = 2;
  static constexpr int kLatencyTiles = 1;
  static constexpr int kQueryBlock = 1, kKeyBlock = 1;
  static constexpr int kDirectQueryBlock = 1, kDirectKeyBlock = 1,
                       kDirectQueries = 1;  // widening in registers
  static constexpr int kDirectSlots = 16;   // keys that these take at a time
  static constexpr int kPeakChains = 2;     // independent FMA chains that keep the units busy
  static constexpr int kWidth = 16;

  struct F {
    float v[kWidth];
  };
  template <class Operation>
  static F each(Operation operation) {
    F r;
    for (int i = 0; i < kWidth; ++i) r.v[i] = operation(i);
    return r;
  }
  static F zero() { return set1(0); }
  static F set1(float x) {
    return each([&](int) { return x; });
  }
  static F load(const float* p) {
    return each([&](int i) { return p[i]; });
  }
  static void store(float* p, const F& x) {
    for (int i = 0; i < kWidth; ++i) p[i] = x.v[i];
  }
  static F add(const F& x, const F& y) {
    return each([&](int i) { return x.v[i] + y.v[i]; });
  }
  static F sub(const F& x, const F& y) {
    return each([&](int i) { return x.v[i] - y.v[i]; });
  }
  static F mul(const F& x, const F& y) {
    return each([&](int i) { return x.v[i] * y.v[i]; });
  }
  static F div(const F& x, const F& y) {
    return each([&](int i) { return x.v[i] / y.v[i]; });
  }
  static F max(const F& x, const F& y) {
    return each([&](int i) { return x.v[i] > y.v[i] ? x.v[i] : y.v[i]; });
  }
  static F min(const F& x, const F& y) {
    return each([&](int i) { return x.v[i] < y.v[i] ? x.v[i] : y.v[i]; });
  }
  /// x · y + z, rounded twice: a plain machine may have no fused instruction.
  static F fma(const F& x, const F& y, const F& z) {
    return each([&](int i) { return x.v[i] * y.v[i] + z.v[i]; });
  }
  static F abs(const F& x) {
    return each([&](int i) { return fabsf(x.v[i]); });
  }
  static F round(const F& x) {
    return each([&](int i) { return rintf(x.v[i]); });
  }
  /// 2^n for integral n in [−126, 127].
  static F pow2(const F& n) {
    return each(
        [&](int i) { return from_bits(static_cast<uint32_t>(static_cast<int>(n.v[i]) + 127) << 23); });
  }
  static float reduce_add(const F& x) {
    F s = x;
    for (int half = kWidth / 2; half > 0; half /= 2)
      for (int i = 0; i < half; ++i) s.v[i] += s.v[i + half];
    return s.v[0];
  }
  static float reduce_max(const F& x) {
    float m = x.v[0];
    for (int i = 1; i < kWidth; ++i) m = x.v[i] > m ? x.v[i] : m;
    return m;
  }
  /// x where lane < n, else y.
  static F first_lanes(const F& x, const F& y, int n) {
    return each([&](int i) { return i < n ? x.v[i] : y.v[i]; });
  }

  /// A bit for every lane whose magnitude is above `limit`.
  static uint32_t lanes_above(const F& x, float limit) {
    uint32_t lanes = 0;
    for (int i = 0; i < kWidth; ++i) lanes |= static_cast<uint32_t>(fabsf(x.v[i]) > limit) << i;
    return lanes;
  }
  /// x, but 0 where its magnitude is above `limit`.
  static F zero_above(const F& x, float limit) {
    return each([&](int i) { return fabsf(x.v[i]) > limit ? 0.0F : x.v[i]; });
  }

  static F load_bf16(const void* p) {
    return each([&](int i) { return from_bits(uint32_t{half_at(p, i)} << 16); });
  }
  static F load_f16(const void* p) {
    return each([&](int i) { return from_f16(half_at(p, i)); });
  }
  static F load_i8(const void* p) {
    return each([&](int i) { return static_cast<float>(static_cast<const int8_t*>(p)[i]); });
  }
  /// Sixteen pairs of bf16: the first of each pair and the second.
  static void load_bf16_pairs(const void* p, F& first, F& second) {
    first = each([&](int i) { return from_bits(uint32_t{half_at(p, 2 * i)} << 16); });
    second = each([&](int i) { return from_bits(uint32_t{half_at(p, 2 * i + 1)} << 16); });
  }
  /// Sixteen integral floats in −128 … 127 as int8.
  static void store_i8(int8_t* p, const F& x) {
    for (int i = 0; i < kWidth; ++i) p[i] = static_cast<int8_t>(x.v[i]);
  }

  struct I {
    int32_t v[kWidth];
  };
  static I zero_int() { return {}; }
  static F to_float(const I& x) {
    return each([&](int i) { return static_cast<float>(x.v[i]); });
  }
  static I add_int(const I& x, const I& y) {
    I r;
    for (int i = 0; i < kWidth; ++i) r.v[i] = x.v[i] + y.v[i];
    return r;
  }
  static I load_int(const unsigned char* p) {
    I r;
    __builtin_memcpy(r.v, p, sizeof r.v);
    return r;
  }
  static void store_int(unsigned char* p, const I& x) { __builtin_memcpy(p, x.v, sizeof x.v); }

  /// Bits [shift, shift + bits) of every lane.
  static I extract_bits(const I& x, int shift, int bits) {
    I r;
    for (int i = 0; i < kWidth; ++i)
      r.v[i] = static_cast<int32_t>(static_cast<uint32_t>(x.v[i]) >> shift) & ((1 << bits) - 1);
    return r;
  }

  /// Sixteen rows of four unsigned codes.
  struct Codes {
    uint8_t v[4 * kWidth];
  };
  static Codes load_codes(const unsigned char* p) {
    Codes c;
    __builtin_memcpy(c.v, p, sizeof c.v);
    return c;
  }
  static void store_codes(unsigned char* p, const Codes& c) { __builtin_memcpy(p, c.v, sizeof c.v); }
  static Codes low_nibbles(const Codes& c) {
    Codes r;
    for (int i = 0; i < 4 * kWidth; ++i) r.v[i] = c.v[i] & 15U;
    return r;
  }
  static Codes high_nibbles(const Codes& c) {
    Codes r;
    for (int i = 0; i < 4 * kWidth; ++i) r.v[i] = static_cast<uint8_t>(c.v[i] >> 4);
    return r;
  }

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
    return {};
  }
  template <int kBits>
  static Split<kBits> split(const Codes& c) {
    return {c};
  }
  /// partial += codes · x over four columns; x: four int8.
  template <int kBits>
  static void add(Partial<kBits>& p, const Split<kBits>& c, const int8_t* x) {
    for (int i = 0; i < kWidth; ++i) {
      const uint8_t* w = c.codes.v + 4 * i;
      p.sum.v[i] += w[0] * x[0] + w[1] * x[1] + w[2] * x[2] + w[3] * x[3];
    }
  }
  template <int kBits>
  static void fold(I& sum, const Partial<kBits>& p) {
    sum = add_int(sum, p.sum);
  }

 private:
  static uint16_t half_at(const void* p, int i) {
    uint16_t h = 0;
    __builtin_memcpy(&h, static_cast<const char*>(p) + 2 * i, 2);
    return h;
  }
  static float from_bits(uint32_t u) {
    float f = 0;
    __builtin_memcpy(&f, &u, 4);
    return f;
  }
  /// IEEE half → float: exact.
  static float from_f16(uint16_t h) {
    const uint32_t sign = static_cast<uint32_t>(h & 0x8000U) << 16;
    const uint32_t exponent = (h >> 10) & 0x1fU;
    const uint32_t mantissa = h & 0x3ffU;
    if (exponent == 0x1f) return from_bits(sign | 0x7f800000U | (mantissa << 13));
    if (exponent == 0) {  // zero and subnormals: mantissa · 2⁻²⁴
      const float magnitude = static_cast<float>(mantissa) * 0x1p-24F;
      return sign != 0 ? -magnitude : magnitude;
    }
    return from_bits(sign | ((exponent + 112) << 23) | (mantissa << 13));
  }
};

}  // namespace facet::cpu
