// Launches of the kernels of a decode step: few rows, each of another sequence, and every kernel started
// before the one ahead of it has ended (dependent_launch.cuh). Compute capability 9.0.
//
// All pointers are device memory; every launch is asynchronous on `stream`, and its error, if any, is
// cudaGetLastError()'s.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "backend/backend.h"
#include "backend/cuda/device.h"
#include "backend/cuda/device_matrix.h"
#include "backend/cuda/fragments.h"
#include "backend/cuda/tile_matrix.h"

namespace facet::cuda {

constexpr int kDecodeRows = 8;  ///< most rows of a decode step

/// The residual stream as a kernel finds it: (x + rms(y) · norm) · scale, not yet added up. The sum is made
/// by every block that needs it; the first also writes it to `sum`.
struct Residual {
  const float* x = nullptr;     // [rows, hidden]
  const float* y = nullptr;     // [rows, hidden]; null: x is all there is
  const float* norm = nullptr;  // [hidden]
  float scale = 1;
  float* sum = nullptr;  // [rows, hidden], not x; written when there is a y
  float eps = 0;
  int hidden = 0;
  int rows = 0;
};

/// Up to three products of one input, rms(residual) · norm: out[i] = h W_iᵀ, f32 [rows, W_i.rows].
struct NormedProducts {
  Residual residual;
  const float* norm = nullptr;  // [hidden]; null: the residual itself, not normed
  TileMatrix w[3];
  float* out[3] = {};
  int count = 0;
};
void normed_products(const NormedProducts& args, cudaStream_t stream);

/// m = gelu(h W_gateᵀ) · h W_upᵀ with h = rms(residual) · norm, as fragments. Gate and up have the same shape
/// and kind of codes, a multiple of 64 rows.
void normed_geglu(const Residual& residual, const float* norm, const TileMatrix& gate, const TileMatrix& up,
                  const Fragments& m, cudaStream_t stream);

/// y = a Wᵀ. y: [rows, w.rows].
void fragment_product(const Fragments& a, int rows, const TileMatrix& w, float* y, cudaStream_t stream);

/// m = gelu(W_gate x) · inputs as fragments, x the residual: the first half of the per-layer embedding. Rows
/// of `inputs` are inputs_stride apart.
void per_layer_gate(const Residual& residual, const TileMatrix& gate, const float* inputs,
                    int64_t inputs_stride, const Fragments& m, cudaStream_t stream);

/// out[r, l, i] = (rms(y[r, l] · projection_scale) · norm + table[tokens[r], l, i] · embed_scale) ·
/// combination_scale. y, out: [rows, layers, ple_dim].
struct PerLayerCombination {
  const float* y = nullptr;
  DeviceMatrix table;
  const int32_t* tokens = nullptr;
  const float* norm = nullptr;
  int rows = 0, layers = 0, ple_dim = 0;
  float eps = 0, embed_scale = 1, projection_scale = 1, combination_scale = 1;
  float* out = nullptr;
};
void combine_per_layer(const PerLayerCombination& args, cudaStream_t stream);

/// out = rms(residual) · norm, or the residual itself where norm is null (then out may be residual.x).
void settle(const Residual& residual, const float* norm, float* out, cudaStream_t stream);

/// out = cap · tanh(h Wᵀ / cap), or without a cap of 0. h: [rows, w.cols()].
/// Returns false, with nothing done, where rows are so wide that a block has no room for them.
[[nodiscard]] bool logits(const float* h, int rows, const TileMatrix& w, float cap, float* out,
                          const Device& device, cudaStream_t stream);

/// The same for 4- and 8-bit codes, faster; 16 bits an activation. Returns false, with nothing done, for what
/// it does not take.
[[nodiscard]] bool digit_logits(const float* h, int rows, const TileMatrix& w, float cap, float* out,
                                const Device& device, cudaStream_t stream);

/// The `count` largest of each row of logits, and their ids, in any order; of equals the lower ids. NaN is
/// less than any number. Scratch: kTopCandidates a row.
constexpr int kMostTop = 64;
constexpr int kTopCandidates = 4096;
struct TopScratch {
  int32_t* ids = nullptr;
  uint32_t* keys = nullptr;
};
/// How many of `width` can be asked for.
[[nodiscard]] int most_top(int width) noexcept;
void top(const float* logits, int rows, int width, int count, const TopScratch& scratch, int32_t* ids,
         float* values, cudaStream_t stream);

/// Over all rows and K/V heads, where there is a choice: what an H100 has room for at once.
constexpr int kMostClusters = 14;
/// Floats that a cluster leaves of a query head: its values, the top and the sum, and to the next 16 bytes.
__host__ __device__ constexpr int64_t partial_width(int head_dim) {
  return head_dim + 4;
}
/// Norms and rotates q and the new k, norms v, stores k and v, and attends: all that lies between a layer's
/// projections. Every row is of another sequence. q: [rows, q_heads · head_dim] as projected.
struct DecodeAttention {
  AttentionShape shape;
  const float* q = nullptr;
  const float* q_norm = nullptr;  // [head_dim]
  const float* k = nullptr;       // [rows, kv_heads · head_dim]; null: the cache has them already
  const float* v = nullptr;
  const float* k_norm = nullptr;  // [head_dim]
  bool v_norm = true;
  float eps = 0;
  Rows rows;
  KvView kv;
  int clusters = 1;          ///< groups of 8 blocks that share a row's keys
  float* partial = nullptr;  ///< [rows, q_heads, clusters, partial_width], for more than one cluster
  int* arrived = nullptr;    ///< [rows, q_heads], zero before and after
  Fragments out;             // [rows, q_heads · head_dim]
  float* values = nullptr;   ///< likewise, instead of `out`, where not null
};
[[nodiscard]] bool serves_decode(const AttentionShape& shape, KvType type) noexcept;
/// Clusters for a step whose last position is `position`.
[[nodiscard]] int decode_clusters(const AttentionShape& shape, int position, int rows) noexcept;
void decode_attention(const DecodeAttention& args, cudaStream_t stream);

}  // namespace facet::cuda
