// A weight matrix in device memory, as the kernels read it.
#pragma once

#include <cstdint>

namespace facet::cuda {

enum class Codes : uint8_t { kF32, kF16, kBF16, kQ4, kQ8 };
/// Type of a group's scale and bias, which lie side by side.
enum class Pairs : uint8_t { kNone, kF16, kBF16, kF32 };

/// w[r, k] = scale · code + bias for the quantised kinds. Passed to kernels by value.
struct DeviceMatrix {
  Codes codes_kind = Codes::kF32;
  Pairs pairs_kind = Pairs::kNone;
  int group = 0;  ///< columns that share a scale: a multiple of 16
  int64_t rows = 0;
  int64_t cols = 0;
  const void* codes = nullptr;  // [rows, cols]; 4-bit codes two a byte, the low nibble first
  const void* pairs = nullptr;  // [rows, cols / group] of (scale, bias)

  /// Bytes of the codes of `count` elements.
  [[nodiscard]] int64_t code_bytes(int64_t count) const noexcept {
    switch (codes_kind) {
      case Codes::kF32: return 4 * count;
      case Codes::kF16:
      case Codes::kBF16: return 2 * count;
      case Codes::kQ4: return count / 2;
      case Codes::kQ8: return count;
    }
    return 0;
  }
  [[nodiscard]] int64_t pair_bytes() const noexcept { return pairs_kind == Pairs::kF32 ? 8 : 4; }
  [[nodiscard]] int64_t groups() const noexcept { return group > 0 ? cols / group : 0; }
};

}  // namespace facet::cuda
