// Weights in the order in which the decode kernels read them.
//
// A tile is 16 rows by 64 columns, and what a warp's lanes need of it lies side by side: lane (g, t) has rows
// g and g + 8, columns 16t to 16t + 15 (fragments.h). As stored, the same would be 16 pieces of 32 bytes, a
// third of the memory's speed.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "backend/cuda/device_matrix.h"

namespace facet::cuda {

struct TileMatrix {
  Codes codes_kind = Codes::kQ4;
  int64_t rows = 0;
  int tiles = 0;                 ///< of 64 columns
  int vectors = 0;               ///< tile_vectors(codes_kind)
  int groups = 0;                ///< of a row
  int group_shift = 0;           ///< a group is 2^group_shift tiles
  const uint4* codes = nullptr;  // [rows / 16, tiles, vectors, 32 lanes]
  const uint2* pairs = nullptr;  // [rows / 16, groups, 8]: bf16 scale and bias of rows g and g + 8
  [[nodiscard]] int64_t cols() const noexcept { return int64_t{tiles} * 64; }
};

/// Vectors of 16 bytes that a lane has of a tile.
[[nodiscard]] constexpr int tile_vectors(Codes codes) noexcept {
  return codes == Codes::kQ4 ? 1 : codes == Codes::kQ8 ? 2 : 4;
}

/// Whether a matrix can be put into tiles: 4- or 8-bit codes with bf16 pairs in groups of 64 or 128, or bf16;
/// whole tiles.
[[nodiscard]] bool serves_tiles(const DeviceMatrix& m) noexcept;

/// The shape of m's tiles, and their bytes.
[[nodiscard]] TileMatrix tile_shape(const DeviceMatrix& m) noexcept;
[[nodiscard]] int64_t code_bytes(const TileMatrix& m) noexcept;
[[nodiscard]] int64_t pair_bytes(const TileMatrix& m) noexcept;

/// Copies m into tiles at to.codes and to.pairs, asynchronously on `stream`.
void fill_tiles(const DeviceMatrix& m, const TileMatrix& to, cudaStream_t stream);

}  // namespace facet::cuda
