// What the flash attention kernels have in common: a block takes a tile of query rows, tokens × the query
// heads that share a key/value head, and walks over the keys that they see.
#pragma once

#include <bit>

#include "backend/backend.h"
#include "backend/cuda/tensor_core.cuh"

namespace facet::cuda {

/// Over the four lanes that hold a row of an m16n8 fragment.
__device__ inline float quad_sum(float v) {
  v += __shfl_xor_sync(0xffffffffU, v, 1);
  return v + __shfl_xor_sync(0xffffffffU, v, 2);
}
__device__ inline float quad_max(float v) {
  v = fmaxf(v, __shfl_xor_sync(0xffffffffU, v, 1));
  return fmaxf(v, __shfl_xor_sync(0xffffffffU, v, 2));
}

/// Rows of a tile: a token's 2^group_bits query heads of one key/value head one below another.
template <int kDim>
struct QueryRows {
  int group_bits, head;

  __device__ int token_of(int row) const { return row >> group_bits; }
  /// Of a row in the tile's part of [tokens, q_heads, kDim].
  __device__ int64_t offset(int row, int q_heads) const {
    const int in_group = row & ((1 << group_bits) - 1);
    return (int64_t{token_of(row)} * q_heads + (head << group_bits) + in_group) * kDim;
  }
};

/// Tokens of a tile of `tile_rows`. Those of a decode step share no keys: a tile each keeps more of the
/// device busy.
__host__ __device__ inline int tile_tokens(const Rows& rows, int tile_rows, int group_bits) {
  return rows.distinct ? 1 : tile_rows >> group_bits;
}

/// A block of a grid (tiles of queries, kv_heads), of kThreads threads. Tile: fetch_queries, attend and store
/// of kRows rows of heads of kDim values; `shared` holds the positions and sequences of a tile's tokens.
template <class Tile, int kRows, int kDim, int kThreads, class Shared>
__device__ inline void attend_tile(Shared& shared, const __nv_bfloat16* q, const Rows& rows,
                                   const AttentionShape& shape, const KvView& kv, int group_bits,
                                   __nv_bfloat16* out) {
  const int a_tile = tile_tokens(rows, kRows, group_bits);
  // Later tokens see more keys: they go first, so that no block begins a long walk when the others are done.
  const int first = static_cast<int>(gridDim.x - 1 - blockIdx.x) * a_tile;
  const int tokens = min(a_tile, rows.count - first);
  Tile tile(shared, shape, kv, group_bits, static_cast<int>(blockIdx.y));
  const int64_t offset = int64_t{first} * shape.q_heads * kDim;
  tile.fetch_queries(q + offset, shape.q_heads, tokens);
  for (int t = static_cast<int>(threadIdx.x); t < tokens; t += kThreads) {
    shared.positions[t] = rows.positions[first + t];
    shared.sequences[t] = rows.sequences[first + t];
  }
  __syncthreads();
  // Usually one run; rows of other sequences are masked while a run's keys pass by.
  for (int begin = 0; begin < tokens;) {
    int end = begin + 1;
    while (end < tokens && shared.sequences[end] == shared.sequences[begin]) ++end;
    tile.attend(begin, end, begin == 0 && end == tokens);
    begin = end;
  }
  tile.store(out + offset, shape.q_heads, tokens);
}

/// Launches a kernel of such blocks, of tiles of `tile_rows`, with `bytes` of shared memory.
template <class Kernel>
void launch_tiles(Kernel kernel, int tile_rows, unsigned threads, int bytes, const void* q, const Rows& rows,
                  const AttentionShape& shape, const KvView& kv, void* out, cudaStream_t stream) {
  const int group_bits = std::countr_zero(static_cast<unsigned>(shape.q_heads / shape.kv_heads));
  const int a_tile = tile_tokens(rows, tile_rows, group_bits);
  const dim3 grid(static_cast<unsigned>((rows.count + a_tile - 1) / a_tile),
                  static_cast<unsigned>(shape.kv_heads));
  (void)cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
  kernel<<<grid, threads, static_cast<size_t>(bytes), stream>>>(
      static_cast<const __nv_bfloat16*>(q), rows, shape, kv, group_bits, static_cast<__nv_bfloat16*>(out));
}

}  // namespace facet::cuda
