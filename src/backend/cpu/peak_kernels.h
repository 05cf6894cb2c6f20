// What a core can do at most: loops on registers and a plain read, for the benchmark's bounds.
#pragma once

#include "backend/cpu/kernels.h"

namespace facet::cpu {

/// Adds up 64-byte lines so that the compiler must load them all, in kStreams equal parts at once.
template <class S, int kStreams>
void read_parts(const unsigned char* data, int64_t bytes, unsigned char* sink64) {
  constexpr int kLines = 4;  // of a part before the next has its turn
  const int64_t part = bytes / kStreams / (kLines * 64) * (kLines * 64);
  typename S::I sums[kLines];
  for (auto& s : sums) s = S::zero_int();
  for (int64_t i = 0; i < part; i += kLines * 64)
    for (int stream = 0; stream < kStreams; ++stream)
      for (int j = 0; j < kLines; ++j)
        sums[j] = S::add_int(sums[j], S::load_int(data + stream * part + i + j * 64));
  S::store_int(sink64, S::add_int(S::add_int(sums[0], sums[1]), S::add_int(sums[2], sums[3])));
}

/// One stream or several: which is faster differs between machines, and between their moments.
template <class S>
void read(const unsigned char* data, int64_t bytes, int streams, unsigned char* sink64) {
  if (streams == 1)
    read_parts<S, 1>(data, bytes, sink64);
  else
    read_parts<S, 4>(data, bytes, sink64);
}

/// The register block of a product, on operands that stay in registers and the first-level cache.
template <class S>
double int8_peak(int64_t iterations) {
  constexpr int kTiles = S::kDotTiles;
  constexpr int kTokens = S::kDotTokens;
  alignas(64) unsigned char lines[kTiles][64];
  for (int i = 0; i < kTiles * 64; ++i) lines[i / 64][i % 64] = static_cast<unsigned char>(i % 13);
  int8_t x[kTokens][4];
  for (int i = 0; i < kTokens * 4; ++i) x[i / 4][i % 4] = static_cast<int8_t>(i - 7);
  typename S::template Split<4> codes[kTiles];
  for (int i = 0; i < kTiles; ++i) codes[i] = S::template split<4>(S::load_codes(lines[i]));
  typename S::template Partial<4> sums[kTiles * kTokens];
  // Unrolled by order: g++ 12 keeps the sums of the larger blocks in memory otherwise, and measures that.
#pragma GCC unroll 16
  for (auto& sum : sums) sum = S::template zero_partial<4>();
  for (int64_t n = 0; n < iterations; ++n) {
    asm volatile("" : "+m"(x));  // keeps the products inside the loop
#pragma GCC unroll 16
    for (int i = 0; i < kTiles * kTokens; ++i) S::add(sums[i], codes[i % kTiles], x[i / kTiles]);
  }
  auto total = S::zero_int();
#pragma GCC unroll 16
  for (const auto& sum : sums) S::fold(total, sum);
  volatile float sink = S::reduce_add(S::to_float(total));
  static_cast<void>(sink);
  return 2.0 * 4 * kLanes * kTiles * kTokens * static_cast<double>(iterations);
}

template <class S>
double f32_peak(int64_t iterations) {
  typename S::F sums[S::kPeakChains];
  for (auto& s : sums) s = S::set1(1.0F);
  const auto a = S::set1(0.999F);
  const auto b = S::set1(1e-3F);
  for (int64_t n = 0; n < iterations; ++n)
    for (auto& s : sums) s = S::fma(s, a, b);
  auto total = S::zero();
  for (const auto& s : sums) total = S::add(total, s);
  volatile float sink = S::reduce_add(total);
  static_cast<void>(sink);
  return 2.0 * kLanes * S::kPeakChains * static_cast<double>(iterations);
}

}  // namespace facet::cpu
