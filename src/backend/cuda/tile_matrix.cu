#include "backend/cuda/tile_matrix.h"

#include "backend/cuda/fragments.h"

namespace facet::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kLanes = 32;

/// A thread a lane's part of a tile.
__global__ void fill_codes_kernel(DeviceMatrix m, TileMatrix to, uint4* codes) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  const auto lane = static_cast<int>(i % kLanes);
  const int64_t tile = i / kLanes;
  if (tile >= to.rows / kTileRows * to.tiles) return;
  const int64_t row = tile / to.tiles * kTileRows + lane / 4;
  const int64_t column = tile % to.tiles * kTileColumns + lane % 4 * 16;
  const int vectors = to.vectors;
  uint4* const out = codes + tile * vectors * kLanes + lane;
  if (to.codes_kind == Codes::kQ4) {
    const auto* from = static_cast<const uint2*>(m.codes);
    const uint2 a = from[(row * m.cols + column) / 16];
    const uint2 b = from[((row + 8) * m.cols + column) / 16];
    *out = {a.x, a.y, b.x, b.y};
    return;
  }
  // 16 columns are `each` vectors of a row.
  const int each = vectors / 2;
  const auto* from = static_cast<const uint4*>(m.codes);
  for (int v = 0; v < vectors; ++v)
    out[v * kLanes] = from[((row + v / each * 8) * m.cols + column) / 16 * each + v % each];
}

/// A thread a pair of pairs.
__global__ void fill_pairs_kernel(DeviceMatrix m, TileMatrix to, uint2* pairs) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  const int64_t at = i / 8;
  if (at >= to.rows / kTileRows * to.groups) return;
  const int64_t row = at / to.groups * kTileRows + i % 8;
  const int64_t group = at % to.groups;
  const auto* from = static_cast<const uint32_t*>(m.pairs);
  pairs[i] = {from[row * to.groups + group], from[(row + 8) * to.groups + group]};
}

unsigned blocks(int64_t n) {
  return static_cast<unsigned>((n + kThreads - 1) / kThreads);
}

}  // namespace

bool serves_tiles(const DeviceMatrix& m) noexcept {
  if (m.rows % kTileRows != 0 || m.cols % kTileColumns != 0) return false;
  if (m.codes_kind == Codes::kBF16) return true;
  return (m.codes_kind == Codes::kQ4 || m.codes_kind == Codes::kQ8) && m.pairs_kind == Pairs::kBF16 &&
         (m.group == kTileColumns || m.group == 2 * kTileColumns) && m.cols % m.group == 0;
}

TileMatrix tile_shape(const DeviceMatrix& m) noexcept {
  TileMatrix tiles;
  tiles.codes_kind = m.codes_kind;
  tiles.rows = m.rows;
  tiles.tiles = static_cast<int>(m.cols / kTileColumns);
  tiles.vectors = tile_vectors(m.codes_kind);
  tiles.groups = static_cast<int>(m.groups());
  tiles.group_shift = m.group > kTileColumns ? 1 : 0;
  return tiles;
}

int64_t code_bytes(const TileMatrix& m) noexcept {
  return m.rows / kTileRows * m.tiles * m.vectors * kLanes * static_cast<int64_t>(sizeof(uint4));
}

int64_t pair_bytes(const TileMatrix& m) noexcept {
  return m.rows / kTileRows * m.groups * 8 * static_cast<int64_t>(sizeof(uint2));
}

void fill_tiles(const DeviceMatrix& m, const TileMatrix& to, cudaStream_t stream) {
  const int64_t row_tiles = to.rows / kTileRows;
  fill_codes_kernel<<<blocks(row_tiles * to.tiles * kLanes), kThreads, 0, stream>>>(
      m, to, const_cast<uint4*>(to.codes));
  if (to.groups > 0)
    fill_pairs_kernel<<<blocks(row_tiles * to.groups * 8), kThreads, 0, stream>>>(
        m, to, const_cast<uint2*>(to.pairs));
}

}  // namespace facet::cuda
