// What surrounds the products and the attention of many rows, fused so that each value passes through device
// memory once, and in bf16 where the next reader is a product. All pointers are device memory; bf16 arrays
// are void*. Launches are asynchronous on `stream`; their errors are cudaGetLastError()'s.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "backend/backend.h"
#include "backend/cuda/device_matrix.h"

namespace facet::cuda {

/// The widest row that a block normalises.
constexpr int64_t kMostNormWidth = 8192;

/// out = x in bf16; count a multiple of 4.
void narrow(const float* x, int64_t count, void* out, cudaStream_t stream);

/// out = x / √(mean(x²) + eps) · weight. x: [rows, width] f32, out: the same in bf16; width a multiple of 4,
/// at most kMostNormWidth.
void rms_norm_bf16(const float* x, int rows, int64_t width, const float* weight, float eps, void* out,
                   cudaStream_t stream);

/// x = (x + y / √(mean(y²) + eps) · weight) · scale. x: [rows, width] f32, y: bf16; widths as above.
void add_rms_norm(const void* y, int rows, int64_t width, const float* weight, float eps, float scale,
                  float* x, cudaStream_t stream);

/// m = gelu_tanh(gate) · up. gate_up: [rows, 2 · width] bf16, the gates first; m: [rows, width] bf16; width a
/// multiple of 8.
void gelu_mul_bf16(const void* gate_up, int rows, int64_t width, void* m, cudaStream_t stream);

/// gate = gelu_tanh(gate) · inputs. gate: [rows, width] bf16; inputs: rows of `width` floats, `stride` apart;
/// width and stride multiples of 4.
void gelu_mul_inputs_bf16(void* gate, const float* inputs, int rows, int64_t width, int64_t stride,
                          cudaStream_t stream);

/// The projections of a layer's input, [rows, q_heads + kv_heads (+ kv_heads)] heads of bf16, q before k
/// before v. No k: kv_heads is 0. No v: V is the K projection.
struct QkvProducts {
  const void* values = nullptr;
  int q_heads = 0;
  int kv_heads = 0;
  bool has_v = true;
};
/// Norms of q and k with their weights and of v without, rope, and the store of K and V into the cache
/// (bf16); q_out: [rows, q_heads, head_dim] bf16. head_dim 256 or 512.
void norm_rope_store(const QkvProducts& products, const Rows& rows, const QkvArgs& args, void* q_out,
                     cudaStream_t stream);

/// Backend::per_layer_inputs after its product. projected: [rows, layers, ple_dim] bf16; ple_dim and the
/// table's columns multiples of 8; out: [rows, layers, ple_dim] f32.
void per_layer_inputs_bf16(const void* projected, const Rows& rows, int layers, const DeviceMatrix& table,
                           const Backend::PerLayerInputs& args, float* out, cudaStream_t stream);

}  // namespace facet::cuda
