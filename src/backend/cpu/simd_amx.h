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

  /// g++ 12 takes the matrix loads for reading nothing: what they read must be stored by then.
  static void fence() noexcept { asm volatile("" : : : "memory"); }
};

}  // namespace facet::cpu
