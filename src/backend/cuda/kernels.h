// Launches of the CUDA kernels. All pointers are device memory unless said otherwise; every launch is
// asynchronous on `stream`, and its error, if any, is cudaGetLastError()'s.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "backend/backend.h"
#include "backend/cuda/device_matrix.h"

namespace facet::cuda {

// --- products.cu ------------------------------------------------------------------------------------------

constexpr int kGemvRows = 8;  ///< rows of activations that share one pass over the weights

/// y[r, o] = Σ_k x[r, k] · w[o, k] for o < out. x: [rows, w.cols], y: [rows, out]. One pass over the weights
/// for every kGemvRows rows.
void multiply(const DeviceMatrix& w, const float* x, int rows, int64_t out, float* y, cudaStream_t stream);

/// The first `rows` rows of w, rounded to bf16. out: [rows, cols].
void to_bf16(const DeviceMatrix& w, int64_t rows, void* out, cudaStream_t stream);
void to_bf16(const float* x, int64_t count, void* out, cudaStream_t stream);

/// out[r] = scale · table[ids[r]], the first `cols` columns.
void gather(const DeviceMatrix& table, const int32_t* ids, int rows, int64_t cols, float scale, float* out,
            cudaStream_t stream);

/// The top_k experts of each row: indices and weights, [rows, top_k] each.
void choose_experts(const float* probabilities, int rows, int experts, int top_k,
                    const float* per_expert_scale, int32_t* chosen, float* weights, cudaStream_t stream);
/// m[r, k] = gelu(gate) · up of expert chosen[r, k]. gate_up: [experts · 2 ffn_dim, hidden].
void experts_gate_up(const DeviceMatrix& gate_up, const float* h, const int32_t* chosen, int rows, int top_k,
                     int ffn_dim, float* m, cudaStream_t stream);
/// out[r] = Σ_k weights[r, k] · down[chosen[r, k]] m[r, k]. down: [experts · hidden, ffn_dim].
void experts_down(const DeviceMatrix& down, const float* m, const int32_t* chosen, const float* weights,
                  int rows, int top_k, int64_t hidden, float* out, cudaStream_t stream);

// --- elementwise.cu ---------------------------------------------------------------------------------------

void gather_rows(const float* x, const int32_t* indices, int rows, int64_t width, float* out,
                 cudaStream_t stream);
void rms_norm(const float* x, int64_t rows, int64_t width, const float* weight, float eps, float* out,
              cudaStream_t stream);
void rope(float* x, const Rows& rows, int heads, const AttentionShape& shape, cudaStream_t stream);
void gelu_mul(float* gate, const float* up, int64_t rows, int64_t width, int64_t up_stride,
              cudaStream_t stream);
void add_scale(float* x, const float* y, float scale, int64_t n, cudaStream_t stream);
void scale(float* x, float factor, int64_t n, cudaStream_t stream);
void scale_columns(float* x, const float* weight, int64_t rows, int64_t width, cudaStream_t stream);
void softmax(float* x, int64_t rows, int64_t width, cudaStream_t stream);
void softcap(float* x, float cap, int64_t n, cudaStream_t stream);

// --- attention.cu -----------------------------------------------------------------------------------------

void kv_store(const float* k, const float* v, const Rows& rows, const KvView& kv, cudaStream_t stream);

/// Partial results of attention over a span of the keys: flash-decoding's.
struct AttentionSpans {
  int count = 1;         ///< spans that each query's keys are cut into
  float* acc = nullptr;  // [rows, q_heads, count, head_dim] Σ exp(score − top) · v
  float* top = nullptr;  // [rows, q_heads, count]
  float* sum = nullptr;  // [rows, q_heads, count] Σ exp(score − top)
};

/// Heads of 64, 128, 256 and 512 values stay in registers; others go through a plain kernel. With one span
/// the result is written directly.
void attend(const float* q, const Rows& rows, const AttentionShape& shape, const KvView& kv,
            const AttentionSpans& spans, float* out, cudaStream_t stream);

}  // namespace facet::cuda
