// A warp's share of a head's attention: its keys lie in shared memory, a lane has eight values of every 256.
#pragma once

#include "backend/cuda/elements.cuh"
#include "backend/cuda/tensor_core.cuh"

namespace facet::cuda::persistent {

constexpr int kWorkers = 12;  ///< warps that share the keys, and a block's products

/// Keys in a chunk of the tape: one or two a warp.
__host__ __device__ constexpr int keys_in_chunk(int head_dim) {
  return head_dim == 512 ? kWorkers : 2 * kWorkers;
}

/// Of attention: a head's values, the top and the sum.
__host__ __device__ constexpr int attention_stride(int head_dim) {
  return head_dim + 4;
}

/// exp(top - all), where `all` is a number: kLeastTop where there is no key.
constexpr float kLeastTop = -1e30F;
__device__ inline float weight_below(float top, float all) {
  return exp2_fast((top - all) * kLog2E);
}

/// Eight bf16 numbers.
__device__ inline void unpack(const uint4& v, float (&to)[8]) {
  const uint32_t words[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    to[2 * i] = __uint_as_float(words[i] << 16);
    to[2 * i + 1] = __uint_as_float(words[i] & 0xffff0000U);
  }
}
__device__ inline uint4 pack(const float (&v)[8]) {
  return {pack_bf16(v[0], v[1]), pack_bf16(v[2], v[3]), pack_bf16(v[4], v[5]), pack_bf16(v[6], v[7])};
}

/// A head of q, k or v: a lane has values 256b + 8 · lane to that + 7.
template <int kHeadDim>
struct LaneHead {
  static constexpr int kVectors = kHeadDim / 256;
  float v[kVectors][8];

  __device__ void load(const float* from, int lane) {
#pragma unroll
    for (int b = 0; b < kVectors; ++b)
#pragma unroll
      for (int i = 0; i < 8; i += 4) {
        const float4 four = *reinterpret_cast<const float4*>(from + b * 256 + lane * 8 + i);
        v[b][i] = four.x, v[b][i + 1] = four.y, v[b][i + 2] = four.z, v[b][i + 3] = four.w;
      }
  }
  __device__ void store(float* to, int lane) const {
#pragma unroll
    for (int b = 0; b < kVectors; ++b)
#pragma unroll
      for (int i = 0; i < 8; i += 4)
        *reinterpret_cast<float4*>(to + b * 256 + lane * 8 + i) = {v[b][i], v[b][i + 1], v[b][i + 2],
                                                                   v[b][i + 3]};
  }
  /// v / rms(v).
  __device__ void normalize(float eps) {
    float squares = 0;
#pragma unroll
    for (int b = 0; b < kVectors; ++b)
#pragma unroll
      for (int i = 0; i < 8; ++i) squares = fmaf(v[b][i], v[b][i], squares);
    scale(reciprocal_root(warp_sum(squares) * (1.0F / kHeadDim) + eps));
  }
  __device__ void multiply(const LaneHead& weight) {
#pragma unroll
    for (int b = 0; b < kVectors; ++b)
#pragma unroll
      for (int i = 0; i < 8; ++i) v[b][i] *= weight.v[b][i];
  }
  /// Pairs (i, i + head_dim / 2) by the angles at `cosines` and, head_dim / 2 on, their sines.
  __device__ void rotate(const float* cosines, int lane) {
    const int at = kVectors == 1 ? lane % 16 * 8 : lane * 8;
    const float* const sines = cosines + kHeadDim / 2;
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const float cosine = cosines[at + i];
      const float sine = sines[at + i];
      if constexpr (kVectors == 1) {
        const float other = __shfl_xor_sync(0xffffffffU, v[0][i], 16);
        v[0][i] = v[0][i] * cosine + (lane < 16 ? -other : other) * sine;
      } else {
        const float low = v[0][i];
        const float high = v[1][i];
        v[0][i] = low * cosine - high * sine;
        v[1][i] = high * cosine + low * sine;
      }
    }
  }
  __device__ void scale(float factor) {
#pragma unroll
    for (int b = 0; b < kVectors; ++b)
#pragma unroll
      for (int i = 0; i < 8; ++i) v[b][i] *= factor;
  }
};

/// A warp's softmax over its keys.
template <int kHeadDim>
struct WarpSoftmax {
  static constexpr int kVectors = kHeadDim / 256;
  static constexpr int kKeys = (keys_in_chunk(kHeadDim) + kWorkers - 1) / kWorkers;  // at once
  float top = -INFINITY;
  float sum = 0;
  LaneHead<kHeadDim> acc{};

  /// `count` keys, at most kKeys: the lane's parts of one lie at k and v, of the next kWorkers rows on.
  __device__ __forceinline__ void add(const LaneHead<kHeadDim>& q, const uint4* k, const uint4* v,
                                      int count) {
    constexpr int kStep = kWorkers * kHeadDim / 8;
    float score[kKeys];
#pragma unroll
    for (int i = 0; i < kKeys; ++i) {
      score[i] = 0;
#pragma unroll
      for (int b = 0; b < kVectors; ++b) {
        float key[8];
        unpack(i < count ? k[i * kStep + b * kWarp] : uint4{}, key);
#pragma unroll
        for (int j = 0; j < 8; ++j) score[i] = fmaf(q.v[b][j], key[j], score[i]);
      }
    }
#pragma unroll
    for (int offset = kWarp / 2; offset > 0; offset /= 2)
#pragma unroll
      for (int i = 0; i < kKeys; ++i) score[i] += __shfl_xor_sync(0xffffffffU, score[i], offset);
    float all = top;
#pragma unroll
    for (int i = 0; i < kKeys; ++i) {
      if (i >= count) score[i] = -INFINITY;
      all = fmaxf(all, score[i]);
    }
    const float keep = weight_below(top, all);
    top = all;
    sum *= keep;
    acc.scale(keep);
#pragma unroll
    for (int i = 0; i < kKeys; ++i) {
      const float p = weight_below(score[i], all);
      sum += p;
#pragma unroll
      for (int b = 0; b < kVectors; ++b) {
        float value[8];
        unpack(i < count ? v[i * kStep + b * kWarp] : uint4{}, value);
#pragma unroll
        for (int j = 0; j < 8; ++j) acc.v[b][j] = fmaf(p, value[j], acc.v[b][j]);
      }
    }
  }
};

}  // namespace facet::cuda::persistent
