// The input of a product that starts from the residual stream: the sum that is due, its norm, and its
// fragments in shared memory.
#pragma once

#include "backend/cuda/decode.h"
#include "backend/cuda/dependent_launch.cuh"
#include "backend/cuda/elements.cuh"
#include "backend/cuda/tiles.cuh"

namespace facet::cuda {

constexpr int kProductThreads = 512;
constexpr int kProductWarps = kProductThreads / kWarp;

/// Rows that share the threads of a block: the kernels are compiled for 1, 4 and 8.
template <int kRows>
constexpr int kThreadsPerRow = kProductThreads / kRows;

/// Chunks between the columns of fragments in shared memory: half a row of banks more than they need, so that
/// two columns are read at once.
__host__ __device__ inline int shared_stride(int64_t hidden) {
  return static_cast<int>(hidden / 8) + 4;
}
__host__ __device__ inline int shared_fragments(int rows, int64_t hidden) {
  return 2 * rows * shared_stride(hidden);
}

/// Room for the sums of squares of a block's warps.
struct alignas(16) RowSums {
  float y[kProductWarps];
  float x[kProductWarps];
};

/// float4s of a row of usual width that a thread has: read at once, and its norms' before the wait.
template <int kRows>
constexpr int kHeld = kRows == 1   ? 1
                      : kRows == 4 ? 3
                                   : 6;

template <int kRows>
struct HeldNorms {
  float4 y[kHeld<kRows>], x[kHeld<kRows>];

  __device__ HeldNorms(const Residual& residual, const float* norm) {
    const int lane_in_row = static_cast<int>(threadIdx.x) % kThreadsPerRow<kRows>;
#pragma unroll
    for (int j = 0; j < kHeld<kRows>; ++j) {
      const int i = j * kThreadsPerRow<kRows> + lane_in_row;
      x[j] = y[j] = {1, 1, 1, 1};
      if (i >= residual.hidden / 4) continue;
      if (residual.y != nullptr) y[j] = __ldg(reinterpret_cast<const float4*>(residual.norm) + i);
      if (norm != nullptr) x[j] = __ldg(reinterpret_cast<const float4*>(norm) + i);
    }
  }
};

/// Adds up what each thread of a row brought. All threads of the block; `slots` are the row's warps'.
template <int kRows>
__device__ inline float row_total(const float* slots, int row) {
  constexpr int kWarpsPerRow = kThreadsPerRow<kRows> / kWarp;
  float total = 0;
#pragma unroll
  for (int i = 0; i < kWarpsPerRow; i += 2) {
    const float2 two = *reinterpret_cast<const float2*>(slots + row * kWarpsPerRow + i);
    total += two.x + two.y;
  }
  return total;
}

/// Makes the fragments of residual · norm (norm null: of the residual) at `fragments`. The factor that
/// completes the rms norm is inverse_rms() of the same row: it is applied to the product. Ends with a
/// barrier. `first`: this block writes residual.sum.
template <int kRows>
__device__ inline void make_input(const Residual& residual, const float* norm, const HeldNorms<kRows>& norms,
                                  bool first, uint4* fragments, RowSums& sums) {
  constexpr int kThreads = kThreadsPerRow<kRows>;
  const auto thread = static_cast<int>(threadIdx.x);
  const int row = thread / kThreads;
  const int lane_in_row = thread % kThreads;
  const int vectors = residual.hidden / 4;
  const bool active = row < residual.rows;
  const int64_t base = int64_t{active ? row : 0} * vectors;
  const auto* x = reinterpret_cast<const float4*>(residual.x) + base;
  const auto* y = reinterpret_cast<const float4*>(residual.y) + base;
  const auto* y_norm = reinterpret_cast<const float4*>(residual.norm);
  const auto* x_norm = reinterpret_cast<const float4*>(norm);
  const int warp = thread / kWarp;

  constexpr int kHeld = cuda::kHeld<kRows>;
  float4 held_x[kHeld];
  float4 held_y[kHeld];
  const bool due = residual.y != nullptr;
#pragma unroll
  for (int j = 0; j < kHeld; ++j) {
    const int i = j * kThreads + lane_in_row;
    held_x[j] = held_y[j] = {};
    if (!active || i >= vectors) continue;
    held_x[j] = __ldcg(x + i);
    if (due) held_y[j] = __ldcg(y + i);
  }
  float inverse_y = 0;
  if (due) {
    float squares = 0;
#pragma unroll
    for (int j = 0; j < kHeld; ++j) squares += sum_of_squares(held_y[j]);
    for (int i = kHeld * kThreads + lane_in_row; i < vectors; i += kThreads)
      squares += sum_of_squares(__ldcg(y + i));
    squares = warp_sum(squares);
    if (thread % kWarp == 0) sums.y[warp] = squares;
    __syncthreads();
    inverse_y = rsqrtf(row_total<kRows>(sums.y, row) / static_cast<float>(residual.hidden) + residual.eps);
  }

  float squares = 0;
  const int stride = shared_stride(residual.hidden);
  // Neighbours share a chunk, so all lanes take part.
  const auto make = [&](int i, float4 v, const float4& add, const float4& add_w, const float4& w) {
    const bool inside = active && i < vectors;
    if (inside) {
      if (due) {
        v.x = (v.x + add.x * inverse_y * add_w.x) * residual.scale;
        v.y = (v.y + add.y * inverse_y * add_w.y) * residual.scale;
        v.z = (v.z + add.z * inverse_y * add_w.z) * residual.scale;
        v.w = (v.w + add.w * inverse_y * add_w.w) * residual.scale;
        if (first) reinterpret_cast<float4*>(residual.sum)[base + i] = v;
      }
      squares += sum_of_squares(v);
      v.x *= w.x;
      v.y *= w.y;
      v.z *= w.z;
      v.w *= w.w;
    }
    float eight[8];
    share_columns(v, 0xffffffffU, eight);
    const bool odd = thread % 2 == 1;
    if (inside) fragments[(2 * row + (odd ? 1 : 0)) * stride + chunk_place(i / 2)] = chunk_of(eight, odd);
  };
#pragma unroll
  for (int j = 0; j < kHeld; ++j)
    make(j * kThreads + lane_in_row, held_x[j], held_y[j], norms.y[j], norms.x[j]);
#pragma unroll 1
  for (int start = kHeld * kThreads; start < vectors; start += kThreads) {
    const int i = start + lane_in_row;
    const bool inside = active && i < vectors;
    const float4 one{1, 1, 1, 1};
    make(i, inside ? __ldcg(x + i) : float4{}, inside && due ? __ldcg(y + i) : float4{},
         inside && due ? __ldg(y_norm + i) : one, inside && norm != nullptr ? __ldg(x_norm + i) : one);
  }
  squares = warp_sum(squares);
  if (thread % kWarp == 0) sums.x[warp] = squares;
  __syncthreads();
}

/// After make_input: 1 / rms of the row's residual.
template <int kRows>
__device__ inline float inverse_rms(const RowSums& sums, int row, const Residual& residual) {
  return rsqrtf(row_total<kRows>(sums.x, row) / static_cast<float>(residual.hidden) + residual.eps);
}

}  // namespace facet::cuda
