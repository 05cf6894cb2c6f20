// The AVX-512 intrinsics that the kernels use, lane by lane, for machines without the instructions. To be
// included before the kernels: their names become these functions.
#pragma once

#include <immintrin.h>

#include <cmath>
#include <cstdint>
#include <cstring>

namespace facet::emulated {

using F = __m512;  // the compiler's vectors: two registers here, four where there are no 256-bit ones
using I = __m512i;

/// Sixty-four bytes as an array of T, and back.
template <class T>
struct Lanes {
  static constexpr int kCount = 64 / sizeof(T);
  T v[kCount];
  Lanes() = default;
  template <class Vector>
  explicit Lanes(const Vector& x) {
    static_assert(sizeof(Vector) == sizeof(v));
    std::memcpy(v, &x, sizeof v);
  }
  template <class Vector>
  [[nodiscard]] Vector as() const {
    static_assert(sizeof(Vector) == sizeof(v));
    Vector x;
    std::memcpy(&x, v, sizeof v);
    return x;
  }
};
/// The vector whose lanes are body(lane).
template <class T, class Vector, class Body>
Vector lanes(Body body) {
  Lanes<T> out;
  for (int i = 0; i < Lanes<T>::kCount; ++i) out.v[i] = body(i);
  return out.template as<Vector>();
}
template <class Body>
F floats(Body body) {
  return lanes<float, F>(body);
}
template <class Body>
I ints(Body body) {
  return lanes<int32_t, I>(body);
}

inline F set1_ps(float x) {
  return floats([=](int) { return x; });
}
inline I set1_epi32(int x) {
  return ints([=](int) { return x; });
}
inline I set1_epi8(char x) {
  return lanes<char, I>([=](int) { return x; });
}
inline F loadu_ps(const float* p) {
  F x;
  std::memcpy(&x, p, sizeof x);
  return x;
}
inline I loadu(const void* p) {
  I x;
  std::memcpy(&x, p, sizeof x);
  return x;
}
/// Traps like the instruction where `p` is not aligned.
inline I load(const void* p) {
  if (reinterpret_cast<uintptr_t>(p) % 64 != 0) __builtin_trap();
  return loadu(p);
}
inline void storeu_ps(float* p, const F& x) {
  std::memcpy(p, &x, sizeof x);
}
inline void storeu(void* p, const I& x) {
  std::memcpy(p, &x, sizeof x);
}
inline void store(void* p, const I& x) {
  if (reinterpret_cast<uintptr_t>(p) % 64 != 0) __builtin_trap();
  storeu(p, x);
}

inline F max_ps(const F& x, const F& y) {  // the second operand where they are equal or not ordered
  const Lanes<float> a(x);
  const Lanes<float> b(y);
  return floats([&](int i) { return a.v[i] > b.v[i] ? a.v[i] : b.v[i]; });
}
inline F min_ps(const F& x, const F& y) {
  const Lanes<float> a(x);
  const Lanes<float> b(y);
  return floats([&](int i) { return a.v[i] < b.v[i] ? a.v[i] : b.v[i]; });
}
inline F fmadd_ps(const F& x, const F& y, const F& z) {
  const Lanes<float> a(x);
  const Lanes<float> b(y);
  const Lanes<float> c(z);
  return floats([&](int i) { return std::fma(a.v[i], b.v[i], c.v[i]); });
}
inline F abs_ps(const F& x) {
  const Lanes<float> a(x);
  return floats([&](int i) { return std::fabs(a.v[i]); });
}
inline F round_ps(const F& x) {  // to nearest, which is all the kernels ask for
  const Lanes<float> a(x);
  return floats([&](int i) { return std::nearbyint(a.v[i]); });
}
inline I cvtps_epi32(const F& x) {
  const Lanes<float> a(x);
  return ints([&](int i) { return static_cast<int32_t>(std::nearbyint(a.v[i])); });
}
inline F cvtepi32_ps(const I& x) {
  const Lanes<int32_t> a(x);
  return floats([&](int i) { return static_cast<float>(a.v[i]); });
}
inline float reduce_add_ps(const F& x) {
  Lanes<float> a(x);
  for (int half = 8; half > 0; half /= 2)
    for (int i = 0; i < half; ++i) a.v[i] += a.v[i + half];
  return a.v[0];
}
/// Four-lane blocks of x, x, y, y, or in each block lanes of x, x, y, y, as two bits of `which` each say.
inline F shuffle_f32x4(const F& x, const F& y, int which) {
  const Lanes<float> a(x);
  const Lanes<float> b(y);
  return floats([&](int i) { return (i < 8 ? a : b).v[(which >> i / 4 * 2 & 3) * 4 + i % 4]; });
}
inline F shuffle_ps(const F& x, const F& y, int which) {
  const Lanes<float> a(x);
  const Lanes<float> b(y);
  return floats([&](int i) { return (i % 4 < 2 ? a : b).v[i / 4 * 4 + (which >> i % 4 * 2 & 3)]; });
}
inline float reduce_max_ps(const F& x) {
  const Lanes<float> a(x);
  float most = a.v[0];
  for (const float v : a.v) most = v > most ? v : most;
  return most;
}
inline __mmask16 cmp_greater_ps(const F& x, const F& y) {
  const Lanes<float> a(x);
  const Lanes<float> b(y);
  unsigned mask = 0;
  for (int i = 0; i < 16; ++i)  // as one expression, g++ 12's undefined-behaviour sanitizer reads another i
    if (a.v[i] > b.v[i]) mask |= 1U << i;
  return static_cast<__mmask16>(mask);
}
/// y where the mask is set.
inline F mask_blend_ps(unsigned mask, const F& x, const F& y) {
  const Lanes<float> a(x);
  const Lanes<float> b(y);
  return floats([&](int i) { return (mask >> i & 1U) != 0 ? b.v[i] : a.v[i]; });
}

template <class T, class Vector>
void narrow_lanes(const Vector& x, T* out) {
  std::memcpy(out, &x, sizeof x);
}
inline I cvtepu16_epi32(const __m256i& x) {
  uint16_t narrow[16];
  narrow_lanes(x, narrow);
  return ints([&](int i) { return int32_t{narrow[i]}; });
}
inline I cvtepi8_epi32(const __m128i& x) {
  int8_t narrow[16];
  narrow_lanes(x, narrow);
  return ints([&](int i) { return int32_t{narrow[i]}; });
}
inline F cvtph_ps(const __m256i& x) {
  uint16_t narrow[16];
  narrow_lanes(x, narrow);
  return floats([&](int i) { return _cvtsh_ss(narrow[i]); });
}
inline __m128i cvtsepi32_epi8(const I& x) {
  const Lanes<int32_t> a(x);
  int8_t narrow[16];
  for (int i = 0; i < 16; ++i)
    narrow[i] = static_cast<int8_t>(a.v[i] < -128 ? -128 : a.v[i] > 127 ? 127 : a.v[i]);
  __m128i out;
  std::memcpy(&out, narrow, sizeof out);
  return out;
}

template <class T, class Body>
I map(const I& x, const I& y, Body body) {
  const Lanes<T> a(x);
  const Lanes<T> b(y);
  return lanes<T, I>([&](int i) { return static_cast<T>(body(a.v[i], b.v[i])); });
}
inline I add_epi32(const I& x, const I& y) {
  return map<uint32_t>(x, y, [](uint32_t a, uint32_t b) { return a + b; });
}
inline I slli_epi32(const I& x, unsigned count) {
  return map<uint32_t>(x, x, [=](uint32_t a, uint32_t) { return count > 31 ? 0 : a << count; });
}
inline I srl_epi32(const I& x, const __m128i& counts) {
  uint64_t count = 0;
  std::memcpy(&count, &counts, sizeof count);
  return map<uint32_t>(x, x, [=](uint32_t a, uint32_t) { return count > 31 ? 0 : a >> count; });
}
inline I srli_epi32(const I& x, unsigned count) {
  return map<uint32_t>(x, x, [=](uint32_t a, uint32_t) { return count > 31 ? 0 : a >> count; });
}
/// y where the mask is set.
inline I mask_blend_epi16(unsigned mask, const I& x, const I& y) {
  const Lanes<uint16_t> a(x);
  const Lanes<uint16_t> b(y);
  return lanes<uint16_t, I>([&](int i) { return (mask >> i & 1U) != 0 ? b.v[i] : a.v[i]; });
}
/// Each bit is bit 4 x + 2 y + z of `table`.
inline I ternarylogic_epi32(const I& x, const I& y, const I& z, unsigned table) {
  I out = set1_epi32(0);
  for (unsigned i = 0; i < 8; ++i)
    if ((table >> i & 1U) != 0)
      out |= ((i & 4U) != 0 ? x : ~x) & ((i & 2U) != 0 ? y : ~y) & ((i & 1U) != 0 ? z : ~z);
  return out;
}
inline __m256i cvtepi32_epi16(const I& x) {
  const Lanes<int32_t> a(x);
  int16_t narrow[16];
  for (int i = 0; i < 16; ++i) narrow[i] = static_cast<int16_t>(a.v[i]);
  __m256i out;
  std::memcpy(&out, narrow, sizeof out);
  return out;
}
inline I srli_epi16(const I& x, unsigned count) {
  return map<uint16_t>(x, x, [=](uint16_t a, uint16_t) { return count > 15 ? 0 : a >> count; });
}
/// Four unsigned bytes times four signed ones, added to a 32-bit sum that wraps.
inline I dpbusd_epi32(const I& sum, const I& x, const I& y) {
  const Lanes<uint32_t> s(sum);
  const Lanes<uint8_t> a(x);
  const Lanes<int8_t> b(y);
  return lanes<uint32_t, I>([&](int i) {
    uint32_t total = s.v[i];
    for (int j = 4 * i; j < 4 * i + 4; ++j) total += static_cast<uint32_t>(int32_t{a.v[j]} * b.v[j]);
    return total;
  });
}

/// In each 128 bits, the lower (higher) half's numbers of x and y in turns.
template <class T>
I unpack(const I& x, const I& y, bool higher) {
  constexpr int kBlock = 16 / sizeof(T);
  const Lanes<T> a(x);
  const Lanes<T> b(y);
  return lanes<T, I>([&](int i) {
    return (i % 2 == 0 ? a : b).v[i / kBlock * kBlock + i % kBlock / 2 + (higher ? kBlock / 2 : 0)];
  });
}
inline I shuffle_i32x4(const I& x, const I& y, int which) {
  const Lanes<int32_t> a(x);
  const Lanes<int32_t> b(y);
  return ints([&](int i) { return (i < 8 ? a : b).v[(which >> i / 4 * 2 & 3) * 4 + i % 4]; });
}
inline I permutex2var_epi16(const I& x, const I& index, const I& y) {
  const Lanes<uint16_t> a(x);
  const Lanes<uint16_t> b(y);
  const Lanes<uint16_t> at(index);
  return lanes<uint16_t, I>([&](int i) { return (at.v[i] & 32 ? b : a).v[at.v[i] & 31]; });
}
inline I mullo_epi32(const I& x, const I& y) {
  return map<uint32_t>(x, y, [](uint32_t a, uint32_t b) { return a * b; });
}
/// The highest lane first.
template <class... Ints>
I set_epi32(Ints... values) {
  const int32_t each[] = {values...};
  return ints([&](int i) { return each[15 - i]; });
}
inline __mmask16 cmpgt_epi32(const I& x, const I& y) {
  const Lanes<int32_t> a(x);
  const Lanes<int32_t> b(y);
  unsigned mask = 0;
  for (int i = 0; i < 16; ++i)
    if (a.v[i] > b.v[i]) mask |= 1U << i;
  return static_cast<__mmask16>(mask);
}

}  // namespace facet::emulated

// Some of these are macros already where the compiler does not optimise.
#undef _mm512_cmp_ps_mask
#undef _mm512_roundscale_ps
#undef _mm512_cmpgt_epi32_mask
#undef _mm512_shuffle_f32x4
#undef _mm512_shuffle_i32x4
#undef _mm512_shuffle_ps
#undef _mm512_slli_epi32
#undef _mm512_srli_epi16
#undef _mm512_srli_epi32
#undef _mm512_ternarylogic_epi32

#define _mm512_abs_ps facet::emulated::abs_ps
#define _mm512_add_epi32 facet::emulated::add_epi32
#define _mm512_add_ps(x, y) ((x) + (y))
#define _mm512_and_si512(x, y) ((x) & (y))
#define _mm512_castps_si512(x) (reinterpret_cast<__m512i>(x))
#define _mm512_castsi512_ps(x) (reinterpret_cast<__m512>(x))
#define _mm512_cmp_ps_mask(x, y, how) facet::emulated::cmp_greater_ps(x, y)
#define _mm512_cmpgt_epi32_mask facet::emulated::cmpgt_epi32
#define _mm512_cvtepi32_ps facet::emulated::cvtepi32_ps
#define _mm512_cvtepi32_epi16 facet::emulated::cvtepi32_epi16
#define _mm512_cvtepi8_epi32 facet::emulated::cvtepi8_epi32
#define _mm512_cvtepu16_epi32 facet::emulated::cvtepu16_epi32
#define _mm512_cvtph_ps facet::emulated::cvtph_ps
#define _mm512_cvtps_epi32 facet::emulated::cvtps_epi32
#define _mm512_cvtsepi32_epi8 facet::emulated::cvtsepi32_epi8
#define _mm512_div_ps(x, y) ((x) / (y))
#define _mm512_dpbusd_epi32 facet::emulated::dpbusd_epi32
#define _mm512_fmadd_ps facet::emulated::fmadd_ps
#define _mm512_load_si512 facet::emulated::load
#define _mm512_loadu_ps facet::emulated::loadu_ps
#define _mm512_loadu_si512 facet::emulated::loadu
#define _mm512_mask_blend_epi16 facet::emulated::mask_blend_epi16
#define _mm512_mask_blend_ps facet::emulated::mask_blend_ps
#define _mm512_max_ps facet::emulated::max_ps
#define _mm512_min_ps facet::emulated::min_ps
#define _mm512_mul_ps(x, y) ((x) * (y))
#define _mm512_mullo_epi32 facet::emulated::mullo_epi32
#define _mm512_or_si512(x, y) ((x) | (y))
#define _mm512_permutex2var_epi16 facet::emulated::permutex2var_epi16
#define _mm512_reduce_add_ps facet::emulated::reduce_add_ps
#define _mm512_reduce_max_ps facet::emulated::reduce_max_ps
#define _mm512_roundscale_ps(x, how) facet::emulated::round_ps(x)
#define _mm512_set1_epi32 facet::emulated::set1_epi32
#define _mm512_set1_epi8 facet::emulated::set1_epi8
#define _mm512_set1_ps facet::emulated::set1_ps
#define _mm512_set_epi32(...) facet::emulated::set_epi32(__VA_ARGS__)
#define _mm512_setzero_ps() facet::emulated::set1_ps(0)
#define _mm512_setzero_si512() facet::emulated::set1_epi32(0)
#define _mm512_shuffle_f32x4 facet::emulated::shuffle_f32x4
#define _mm512_shuffle_i32x4 facet::emulated::shuffle_i32x4
#define _mm512_shuffle_ps facet::emulated::shuffle_ps
#define _mm512_slli_epi32 facet::emulated::slli_epi32
#define _mm512_srl_epi32 facet::emulated::srl_epi32
#define _mm512_srli_epi16 facet::emulated::srli_epi16
#define _mm512_srli_epi32 facet::emulated::srli_epi32
#define _mm512_store_si512 facet::emulated::store
#define _mm512_storeu_ps facet::emulated::storeu_ps
#define _mm512_storeu_si512 facet::emulated::storeu
#define _mm512_sub_ps(x, y) ((x) - (y))
#define _mm512_ternarylogic_epi32 facet::emulated::ternarylogic_epi32
#define _mm512_unpackhi_epi16(x, y) facet::emulated::unpack<uint16_t>(x, y, true)
#define _mm512_unpackhi_epi32(x, y) facet::emulated::unpack<uint32_t>(x, y, true)
#define _mm512_unpackhi_epi64(x, y) facet::emulated::unpack<uint64_t>(x, y, true)
#define _mm512_unpacklo_epi16(x, y) facet::emulated::unpack<uint16_t>(x, y, false)
#define _mm512_unpacklo_epi32(x, y) facet::emulated::unpack<uint32_t>(x, y, false)
#define _mm512_unpacklo_epi64(x, y) facet::emulated::unpack<uint64_t>(x, y, false)
