// Single values of stored matrices and of the cache, and sums over a warp and a block.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

#include "backend/cuda/device_matrix.h"
#include "backend/cuda/tensor_core.cuh"

namespace facet::cuda {

constexpr int kWarp = 32;

struct Pair {
  float scale, bias;
};

/// Scale and bias number `i` of a matrix.
template <Pairs kPairs>
__device__ inline Pair pair_at(const void* pairs, int64_t i) {
  if constexpr (kPairs == Pairs::kF32) {
    const float2 p = __ldg(static_cast<const float2*>(pairs) + i);
    return {p.x, p.y};
  } else if constexpr (kPairs == Pairs::kF16) {
    const __half2 p = static_cast<const __half2*>(pairs)[i];
    return {__low2float(p), __high2float(p)};
  } else if constexpr (kPairs == Pairs::kBF16) {
    const __nv_bfloat162 p = static_cast<const __nv_bfloat162*>(pairs)[i];
    return {__low2float(p), __high2float(p)};
  } else {
    return {1.0F, 0.0F};
  }
}

/// Element [row, col], whatever its kind: for tables, odd shapes and conversions.
__device__ inline float element(const DeviceMatrix& m, int64_t row, int64_t col) {
  const int64_t i = row * m.cols + col;
  int code = 0;
  switch (m.codes_kind) {
    case Codes::kF32: return static_cast<const float*>(m.codes)[i];
    case Codes::kF16: return __half2float(static_cast<const __half*>(m.codes)[i]);
    case Codes::kBF16: return __bfloat162float(static_cast<const __nv_bfloat16*>(m.codes)[i]);
    case Codes::kQ4: {
      const int byte = static_cast<const uint8_t*>(m.codes)[i / 2];
      code = i % 2 == 0 ? byte & 15 : byte >> 4;
      break;
    }
    case Codes::kQ8: code = static_cast<const uint8_t*>(m.codes)[i]; break;
  }
  const int64_t g = row * (m.cols / m.group) + col / m.group;
  Pair pair;
  switch (m.pairs_kind) {
    case Pairs::kF16: pair = pair_at<Pairs::kF16>(m.pairs, g); break;
    case Pairs::kBF16: pair = pair_at<Pairs::kBF16>(m.pairs, g); break;
    default: pair = pair_at<Pairs::kF32>(m.pairs, g); break;
  }
  return fmaf(pair.scale, static_cast<float>(code), pair.bias);
}

__device__ inline float sum_of_squares(const float4& v) {
  return v.x * v.x + v.y * v.y + v.z * v.z + v.w * v.w;
}

/// What a part of a softmax with this top counts for beside others: exp(top - all), 0 where it had no key.
__device__ inline float softmax_weight(float top, float all) {
  return top == -INFINITY ? 0.0F : __expf(top - all);
}

/// The sum over a warp, in every lane.
__device__ inline float warp_sum(float v) {
  for (int offset = kWarp / 2; offset > 0; offset /= 2) v += __shfl_xor_sync(0xffffffffU, v, offset);
  return v;
}
__device__ inline float warp_max(float v) {
  for (int offset = kWarp / 2; offset > 0; offset /= 2) v = fmaxf(v, __shfl_xor_sync(0xffffffffU, v, offset));
  return v;
}

/// The sum (or maximum) over a block of at most 1,024 threads, in every thread. `shared` holds 32 floats and
/// may be used again at once.
template <bool kMax>
__device__ inline float block_reduce(float v, float* shared) {
  const int warps = static_cast<int>((blockDim.x + kWarp - 1) / kWarp);
  const auto lane = static_cast<int>(threadIdx.x % kWarp);
  v = kMax ? warp_max(v) : warp_sum(v);
  __syncthreads();  // whoever still reads an earlier result
  if (lane == 0) shared[threadIdx.x / kWarp] = v;
  __syncthreads();
  v = lane < warps ? shared[lane] : (kMax ? -INFINITY : 0.0F);
  return kMax ? warp_max(v) : warp_sum(v);
}

/// The tanh approximation, as gelu_pytorch_tanh computes it: ½ (1 + tanh u) is 1 − 1 / (1 + exp 2u).
__device__ inline float gelu_tanh(float x) {
  constexpr float kSqrt2OverPi = 0.7978845608028654F;
  const float u = kSqrt2OverPi * (x + 0.044715F * x * x * x);
  return x - x * reciprocal(1.0F + exp2_fast(2.0F * kLog2E * u));
}

}  // namespace facet::cuda
