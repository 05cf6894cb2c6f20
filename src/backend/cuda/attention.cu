// The cache's stores, and attention over it: a warp a query head and span of keys, with a running softmax;
// the heads that share a key sit in one block and find it in the first-level cache.
#include <algorithm>

#include "backend/cuda/elements.cuh"
#include "backend/cuda/kernels.h"
#include "backend/cuda/kv_slot.cuh"

namespace facet::cuda {
namespace {

constexpr int kMostHeads = 8;  // query heads, so warps, a block

template <KvType kType>
constexpr int kElementBytes = kType == KvType::kF32    ? 4
                              : kType == KvType::kBF16 ? 2
                                                       : 1;

/// Element i of a cached row.
template <KvType kType>
__device__ inline float cached(const std::byte* row, int i, float row_scale) {
  if constexpr (kType == KvType::kF32) return reinterpret_cast<const float*>(row)[i];
  if constexpr (kType == KvType::kBF16)
    return __bfloat162float(reinterpret_cast<const __nv_bfloat16*>(row)[i]);
  return row_scale * static_cast<float>(reinterpret_cast<const int8_t*>(row)[i]);
}

/// A warp a (row, head): K by the even ones of blockIdx.z, V by the odd.
__global__ void kv_store_kernel(const float* k, const float* v, Rows rows, KvView kv) {
  const int lane = static_cast<int>(threadIdx.x);
  const auto r = static_cast<int>(blockIdx.x);
  const auto head = static_cast<int>(blockIdx.y);
  const bool is_v = blockIdx.z == 1;
  const int d = kv.head_dim;
  const float* in = (is_v ? v : k) + (int64_t{r} * kv.kv_heads + head) * d;
  const int64_t slot = token_slot(kv, rows.sequences[r], rows.positions[r]) * kv.kv_heads + head;
  std::byte* data = is_v ? kv.v : kv.k;
  switch (kv.type) {
    case KvType::kF32:
      for (int i = lane; i < d; i += kWarp) reinterpret_cast<float*>(data)[slot * d + i] = in[i];
      break;
    case KvType::kBF16:
      for (int i = lane; i < d; i += kWarp)
        reinterpret_cast<__nv_bfloat16*>(data)[slot * d + i] = __float2bfloat16_rn(in[i]);
      break;
    case KvType::kQ8: {
      float top = 0;
      for (int i = lane; i < d; i += kWarp) top = fmaxf(top, fabsf(in[i]));
      top = warp_max(top);
      const float inverse = top > 0 ? 127.0F / top : 0.0F;
      for (int i = lane; i < d; i += kWarp)
        reinterpret_cast<int8_t*>(data)[slot * d + i] = static_cast<int8_t>(__float2int_rn(in[i] * inverse));
      if (lane == 0) (is_v ? kv.v_scale : kv.k_scale)[slot] = top / 127.0F;
      break;
    }
  }
}

/// Grid: (rows, kv_heads · head blocks, spans). kPerLane values of a head a lane; kPerLane 0: any head_dim,
/// with q and the accumulator in shared memory.
template <KvType kType, int kPerLane>
__global__ void __launch_bounds__(kMostHeads* kWarp)
    attend_kernel(const float* q, Rows rows, AttentionShape shape, KvView kv, AttentionSpans spans,
                  float* out) {
  extern __shared__ float shared[];
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int group = shape.q_heads / shape.kv_heads;
  const int blocks_a_head = (group + kMostHeads - 1) / kMostHeads;
  const auto kv_head = static_cast<int>(blockIdx.y) / blocks_a_head;
  const int in_group = static_cast<int>(blockIdx.y) % blocks_a_head * kMostHeads + warp;
  if (in_group >= group) return;
  const int64_t head = int64_t{kv_head} * group + in_group;
  const auto r = static_cast<int>(blockIdx.x);
  const int d = shape.head_dim;
  const int per_lane = kPerLane > 0 ? kPerLane : (d + kWarp - 1) / kWarp;

  // This span's part of the visible positions (last − window, last].
  const int32_t sequence = rows.sequences[r];
  const int32_t last = rows.positions[r];
  const int32_t first = shape.window > 0 ? max(0, last - shape.window + 1) : 0;
  const int32_t span = (last - first + spans.count) / spans.count;  // rounded up
  const int32_t begin = first + static_cast<int32_t>(blockIdx.z) * span;
  const int32_t end = min(last + 1, begin + span);

  float q_registers[kPerLane > 0 ? kPerLane : 1];
  float acc_registers[kPerLane > 0 ? kPerLane : 1];
  float* mine = kPerLane > 0 ? q_registers : shared + warp * 2 * per_lane * kWarp + lane * 2 * per_lane;
  float* acc = kPerLane > 0 ? acc_registers : mine + per_lane;
  const float* query = q + (int64_t{r} * shape.q_heads + head) * d;
#pragma unroll
  for (int i = 0; i < per_lane; ++i) {
    const int at = i * kWarp + lane;
    mine[i] = at < d ? query[at] * shape.scale : 0.0F;
    acc[i] = 0;
  }

  float top = -INFINITY;
  float sum = 0;
  for (int32_t p = begin; p < end; ++p) {
    const int64_t slot = token_slot(kv, sequence, p) * kv.kv_heads + kv_head;
    const int64_t bytes = slot * d * kElementBytes<kType>;
    const float k_scale = kType == KvType::kQ8 ? kv.k_scale[slot] : 1.0F;
    float score = 0;
#pragma unroll
    for (int i = 0; i < per_lane; ++i) {
      const int at = i * kWarp + lane;
      if (kPerLane > 0 || at < d) score = fmaf(mine[i], cached<kType>(kv.k + bytes, at, k_scale), score);
    }
    score = warp_sum(score);
    const float new_top = fmaxf(top, score);
    const float keep = expf(top - new_top);
    const float weight = expf(score - new_top);
    top = new_top;
    sum = fmaf(sum, keep, weight);
    const float v_scale = kType == KvType::kQ8 ? kv.v_scale[slot] : 1.0F;
#pragma unroll
    for (int i = 0; i < per_lane; ++i) {
      const int at = i * kWarp + lane;
      if (kPerLane > 0 || at < d)
        acc[i] = fmaf(weight, cached<kType>(kv.v + bytes, at, v_scale), acc[i] * keep);
    }
  }

  const int64_t result = (int64_t{r} * shape.q_heads + head) * spans.count + blockIdx.z;
  float* to = spans.count == 1 ? out + result * d : spans.acc + result * d;
  const float factor = spans.count == 1 ? 1.0F / sum : 1.0F;
#pragma unroll
  for (int i = 0; i < per_lane; ++i) {
    const int at = i * kWarp + lane;
    if (at < d) to[at] = acc[i] * factor;
  }
  if (spans.count > 1 && lane == 0) {
    spans.top[result] = top;
    spans.sum[result] = sum;
  }
}

/// Grid: (rows, q_heads).
__global__ void combine_spans_kernel(AttentionSpans spans, int head_dim, float* out) {
  const int64_t query = int64_t{blockIdx.x} * gridDim.y + blockIdx.y;
  const float* tops = spans.top + query * spans.count;
  const float* sums = spans.sum + query * spans.count;
  float top = -INFINITY;
  for (int s = 0; s < spans.count; ++s) top = fmaxf(top, tops[s]);
  float sum = 0;
  for (int s = 0; s < spans.count; ++s) sum += sums[s] * expf(tops[s] - top);  // an empty span: 0 · e^−∞
  for (int i = static_cast<int>(threadIdx.x); i < head_dim; i += static_cast<int>(blockDim.x)) {
    float acc = 0;
    for (int s = 0; s < spans.count; ++s)
      acc = fmaf(spans.acc[(query * spans.count + s) * head_dim + i], expf(tops[s] - top), acc);
    out[query * head_dim + i] = acc / sum;
  }
}

template <KvType kType>
void launch(const float* q, const Rows& rows, const AttentionShape& shape, const KvView& kv,
            const AttentionSpans& spans, float* out, cudaStream_t stream) {
  const int group = shape.q_heads / shape.kv_heads;
  const int blocks_a_head = (group + kMostHeads - 1) / kMostHeads;
  const int warps = std::min(group, kMostHeads);
  const dim3 grid(static_cast<unsigned>(rows.count), static_cast<unsigned>(shape.kv_heads * blocks_a_head),
                  static_cast<unsigned>(spans.count));
  const auto threads = static_cast<unsigned>(warps * kWarp);
  switch (shape.head_dim) {
    case 64: attend_kernel<kType, 2><<<grid, threads, 0, stream>>>(q, rows, shape, kv, spans, out); break;
    case 128: attend_kernel<kType, 4><<<grid, threads, 0, stream>>>(q, rows, shape, kv, spans, out); break;
    case 256: attend_kernel<kType, 8><<<grid, threads, 0, stream>>>(q, rows, shape, kv, spans, out); break;
    case 512: attend_kernel<kType, 16><<<grid, threads, 0, stream>>>(q, rows, shape, kv, spans, out); break;
    default: {
      const int per_lane = (shape.head_dim + kWarp - 1) / kWarp;
      const size_t bytes = sizeof(float) * 2 * static_cast<size_t>(per_lane * kWarp * warps);
      attend_kernel<kType, 0><<<grid, threads, bytes, stream>>>(q, rows, shape, kv, spans, out);
    }
  }
}

}  // namespace

void kv_store(const float* k, const float* v, const Rows& rows, const KvView& kv, cudaStream_t stream) {
  if (rows.count == 0) return;
  const dim3 grid(static_cast<unsigned>(rows.count), static_cast<unsigned>(kv.kv_heads), 2);
  kv_store_kernel<<<grid, kWarp, 0, stream>>>(k, v, rows, kv);
}

void attend(const float* q, const Rows& rows, const AttentionShape& shape, const KvView& kv,
            const AttentionSpans& spans, float* out, cudaStream_t stream) {
  if (rows.count == 0) return;
  switch (kv.type) {
    case KvType::kF32: launch<KvType::kF32>(q, rows, shape, kv, spans, out, stream); break;
    case KvType::kBF16: launch<KvType::kBF16>(q, rows, shape, kv, spans, out, stream); break;
    case KvType::kQ8: launch<KvType::kQ8>(q, rows, shape, kv, spans, out, stream); break;
  }
  if (spans.count > 1) {
    const dim3 grid(static_cast<unsigned>(rows.count), static_cast<unsigned>(shape.q_heads));
    combine_spans_kernel<<<grid, 128, 0, stream>>>(spans, shape.head_dim, out);
  }
}

}  // namespace facet::cuda
