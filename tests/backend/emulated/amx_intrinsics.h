// AMX's intrinsics for machines without the instructions, as avx512_intrinsics.h does it. What the processor
// would refuse ends the test: registers that were not shaped, or whose shapes do not fit each other.
#pragma once

#include <immintrin.h>

#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>

namespace facet::emulated {

struct MatrixRegister {
  int rows = 0;
  int row_bytes = 0;
  std::array<std::array<uint8_t, 64>, 16> bytes{};
};
inline thread_local std::array<MatrixRegister, 8> matrix_registers;

inline void require(bool condition) {
  if (!condition) __builtin_trap();
}

inline void tile_loadconfig(const void* config) {
  std::array<uint8_t, 64> c;
  std::memcpy(c.data(), config, c.size());
  require(c[0] == 1 && c[1] == 0);
  for (size_t i = 0; i < 8; ++i) {
    MatrixRegister& r = matrix_registers[i];
    r = {};
    r.rows = c[48 + i];
    r.row_bytes = c[16 + 2 * i] | c[17 + 2 * i] << 8;
    require(r.rows <= 16 && r.row_bytes <= 64 && r.row_bytes % 4 == 0 && (r.rows > 0) == (r.row_bytes > 0));
  }
}
inline void tile_release() {
  matrix_registers = {};
}
inline MatrixRegister& shaped(size_t i) {
  MatrixRegister& r = matrix_registers.at(i);
  require(r.rows > 0);
  return r;
}
inline void tile_zero(size_t i) {
  shaped(i).bytes = {};
}
inline void tile_loadd(size_t i, const void* from, int64_t stride) {
  MatrixRegister& r = shaped(i);
  r.bytes = {};
  for (int row = 0; row < r.rows; ++row)
    std::memcpy(r.bytes[static_cast<size_t>(row)].data(), static_cast<const uint8_t*>(from) + row * stride,
                static_cast<size_t>(r.row_bytes));
}
inline void tile_stored(size_t i, void* to, int64_t stride) {
  const MatrixRegister& r = shaped(i);
  for (int row = 0; row < r.rows; ++row)
    std::memcpy(static_cast<uint8_t*>(to) + row * stride, r.bytes[static_cast<size_t>(row)].data(),
                static_cast<size_t>(r.row_bytes));
}
/// sum[m][n] += Σ_k a[m][k] · b[k / 4][n][k % 4], a signed and b unsigned.
inline void tile_dpbsud(size_t sum, size_t a, size_t b) {
  MatrixRegister& c = shaped(sum);
  const MatrixRegister& x = shaped(a);
  const MatrixRegister& w = shaped(b);
  require(c.rows == x.rows && c.row_bytes == w.row_bytes && x.row_bytes == 4 * w.rows);
  require(sum != a && sum != b && a != b);
  for (size_t m = 0; m < static_cast<size_t>(c.rows); ++m) {
    for (size_t n = 0; n < static_cast<size_t>(c.row_bytes); n += 4) {
      uint32_t total = 0;
      std::memcpy(&total, &c.bytes[m][n], 4);
      for (size_t k = 0; k < static_cast<size_t>(x.row_bytes); ++k)
        total += static_cast<uint32_t>(int32_t{static_cast<int8_t>(x.bytes[m][k])} *
                                       int32_t{w.bytes[k / 4][n + k % 4]});
      std::memcpy(&c.bytes[m][n], &total, 4);
    }
  }
}
/// sum[m][n] += Σ_k a[m][k] · b[k / 2][n][k % 2] in f32: the even columns and the odd ones apart, each
/// product added without rounding it first, numbers too small for f32's normal range taken as 0.
inline void tile_dpbf16ps(size_t sum, size_t a, size_t b) {
  MatrixRegister& c = shaped(sum);
  const MatrixRegister& x = shaped(a);
  const MatrixRegister& w = shaped(b);
  require(c.rows == x.rows && c.row_bytes == w.row_bytes && x.row_bytes == 4 * w.rows);
  require(sum != a && sum != b && a != b);
  const auto normal = [](float v) { return std::fabs(v) < 0x1p-126F ? std::copysign(0.0F, v) : v; };
  std::array<std::array<float, 32>, 16> left;   // [rows][columns]
  std::array<std::array<float, 32>, 16> right;  // the same of b's
  const auto widen = [&](const MatrixRegister& from, auto& to) {
    for (size_t row = 0; row < to.size(); ++row) {
      for (size_t k = 0; k < to[row].size(); ++k) {
        const uint32_t bits = uint32_t{from.bytes[row][2 * k]} << 16 | uint32_t{from.bytes[row][2 * k + 1]}
                                                                           << 24;
        float value = 0;
        std::memcpy(&value, &bits, 4);
        to[row][k] = normal(value);
      }
    }
  };
  widen(x, left);
  widen(w, right);
  const auto columns = static_cast<size_t>(x.row_bytes) / 2;
  for (size_t m = 0; m < static_cast<size_t>(c.rows); ++m) {
    for (size_t n = 0; n < static_cast<size_t>(c.row_bytes) / 4; ++n) {
      float even = 0;
      float odd = 0;
      for (size_t k = 0; k < columns; k += 2) {
        even = normal(std::fma(left[m][k], right[k / 2][2 * n], even));
        odd = normal(std::fma(left[m][k + 1], right[k / 2][2 * n + 1], odd));
      }
      float total = 0;
      std::memcpy(&total, &c.bytes[m][4 * n], 4);
      total = normal(normal(total) + normal(even + odd));
      std::memcpy(&c.bytes[m][4 * n], &total, 4);
    }
  }
}

}  // namespace facet::emulated

#undef _tile_loadconfig
#undef _tile_release
#undef _tile_zero
#undef _tile_loadd
#undef _tile_stored
#undef _tile_dpbsud
#undef _tile_dpbf16ps

#define _tile_loadconfig facet::emulated::tile_loadconfig
#define _tile_release facet::emulated::tile_release
#define _tile_zero facet::emulated::tile_zero
#define _tile_loadd facet::emulated::tile_loadd
#define _tile_stored facet::emulated::tile_stored
#define _tile_dpbsud facet::emulated::tile_dpbsud
#define _tile_dpbf16ps facet::emulated::tile_dpbf16ps
