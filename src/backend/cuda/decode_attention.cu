// Attention of a decode step, with everything between a layer's projections: the norms and rotation of q and
// k, the store, and softmax(q kᵀ) v for the query heads that share a K/V head.
//
// A cluster of eight blocks shares a row's keys. A warp takes 16 keys at a time through the tensor cores: the
// query heads fill the mma's short side, and q and the probabilities enter as two bf16 numbers each (the
// value rounded, and what that left), so that bf16 costs them no precision. Which of an mma's columns a value
// of a head becomes is free, so K and V are read as they lie, 16 bytes a lane, without shared memory.
#include <cooperative_groups.h>

#include <algorithm>

#include "backend/cuda/decode.h"
#include "backend/cuda/dependent_launch.cuh"
#include "backend/cuda/elements.cuh"
#include "backend/cuda/kv_slot.cuh"
#include "backend/cuda/tiles.cuh"

namespace facet::cuda {
namespace {

namespace cg = cooperative_groups;

constexpr int kThreads =
    128;  // a warp's values take most of its registers: two blocks' fill a multiprocessor
constexpr int kWarps = kThreads / kWarp;
constexpr int kCluster = 8;
constexpr int kHeads = 8;                   // query heads of a K/V head, at most
[[maybe_unused]] constexpr int kKeys = 16;  // of a warp at once
constexpr int kKeysPerCluster = 512;

/// Shared memory of a block.
template <int kHeadDim>
struct Shared {
  /// q as the mma's left side: rounded and rest, [2, heads, head_dim] bf16 and padding that puts two heads'
  /// rows into different banks.
  static constexpr int kQueryStride = kHeadDim / 8 + 4;  // of uint4
  static constexpr int kOutStride = kHeadDim + 2;        // of float
  static constexpr int kLoads = kHeadDim / 16;           // vectors a lane has of 16 keys, and of their values
  uint4 q[2 * kHeads * kQueryStride];
  /// Of each warp: first its keys and values on their way, then its result. The first warp's then holds the
  /// block's.
  union Warp {
    uint4 stage[2][kLoads][kWarp];
    float out[kHeads][kOutStride];
  } warp[kWarps];
  float cosine[kHeadDim / 2];
  float sine[kHeadDim / 2];
  float top[kWarps][kHeads];
  float sum[kWarps][kHeads];
  float block_top[kHeads];
  float block_sum[kHeads];
};

/// A warp: values [0, head_dim) of a head at `in`, normed, as halves i and i + head_dim / 2 of 4 a lane.
template <int kHeadDim>
struct Head {
  static constexpr int kVectors = kHeadDim / 2 / (4 * kWarp);
  float4 low[kVectors], high[kVectors];

  __device__ void load(const float* in, const float* norm, bool normed, float eps, int lane) {
    float4 low_norm[kVectors];
    float4 high_norm[kVectors];
    float squares = 0;
#pragma unroll
    for (int i = 0; i < kVectors; ++i) {
      const int at = (i * kWarp + lane) * 4;
      low_norm[i] = high_norm[i] = {1, 1, 1, 1};
      if (norm != nullptr) {
        low_norm[i] = __ldg(reinterpret_cast<const float4*>(norm + at));
        high_norm[i] = __ldg(reinterpret_cast<const float4*>(norm + kHeadDim / 2 + at));
      }
      low[i] = __ldcg(reinterpret_cast<const float4*>(in + at));
      high[i] = __ldcg(reinterpret_cast<const float4*>(in + kHeadDim / 2 + at));
      squares += sum_of_squares(low[i]);
      squares += sum_of_squares(high[i]);
    }
    if (!normed) return;
    const float inverse = rsqrtf(warp_sum(squares) / static_cast<float>(kHeadDim) + eps);
#pragma unroll
    for (int i = 0; i < kVectors; ++i) {
      scale_by(low[i], inverse, low_norm[i]);
      scale_by(high[i], inverse, high_norm[i]);
    }
  }

  /// By the angles in shared memory, [head_dim / 2] cosines and sines.
  __device__ void rotate(const float* cosines, const float* sines, int lane) {
#pragma unroll
    for (int i = 0; i < kVectors; ++i) {
      const float4 cosine = *reinterpret_cast<const float4*>(cosines + (i * kWarp + lane) * 4);
      const float4 sine = *reinterpret_cast<const float4*>(sines + (i * kWarp + lane) * 4);
      const float4 a = low[i];
      const float4 b = high[i];
      low[i] = {a.x * cosine.x - b.x * sine.x, a.y * cosine.y - b.y * sine.y, a.z * cosine.z - b.z * sine.z,
                a.w * cosine.w - b.w * sine.w};
      high[i] = {b.x * cosine.x + a.x * sine.x, b.y * cosine.y + a.y * sine.y, b.z * cosine.z + a.z * sine.z,
                 b.w * cosine.w + a.w * sine.w};
    }
  }

  __device__ static uint2 rounded(const float4& v) {
    return {pack_bf16(v.x, v.y), pack_bf16(v.z, v.w)};
  }
  __device__ static uint2 rest(const float4& v) {
    return {pack_bf16(bf16_rest(v.x), bf16_rest(v.y)), pack_bf16(bf16_rest(v.z), bf16_rest(v.w))};
  }

 private:
  __device__ static void scale_by(float4& v, float factor, const float4& w) {
    v = {v.x * factor * w.x, v.y * factor * w.y, v.z * factor * w.z, v.w * factor * w.w};
  }
};

/// A warp's running softmax over its keys: of head g (lane / 4) the top and the sum; the outputs of all heads
/// lie in mma order: for [64-value block][m] values 8g + 2m and 8g + 2m + 1 of the block, heads 2t, 2t + 1.
template <int kHeadDim>
struct WarpAttention {
  float top = -INFINITY;
  float sum = 0;
  float out[kHeadDim / 64][4][4] = {};

  /// Begins to copy the keys, or values, of 16 positions from `slot` on: a group of copies.
  template <bool kValues>
  __device__ static void fetch(const KvView& kv, int64_t slot, int kv_head, uint4 (*stage)[kWarp], int lane) {
    const int g = lane / 4;
    const int t = lane % 4;
    const int row_vectors = kv.kv_heads * (kHeadDim / 8);
    const auto* rows =
        reinterpret_cast<const uint4*>(kValues ? kv.v : kv.k) + slot * row_vectors + kv_head * (kHeadDim / 8);
    if constexpr (kValues) {  // 64 values at a time: 8 of them of keys 2t, 2t + 1, 8 + 2t, 9 + 2t
      const uint4* from = rows + 2 * t * row_vectors + g;
#pragma unroll 2
      for (int d = 0; d < kHeadDim / 64; ++d)
#pragma unroll
        for (int i = 0; i < 4; ++i)
          copy_async(&stage[4 * d + i][lane], from + (i / 2 * 8 + i % 2) * row_vectors + d * 8);
    } else {  // 32 values at a time: 8 of them of keys g and 8 + g
      const uint4* from = rows + g * row_vectors + t;
#pragma unroll 4
      for (int j = 0; j < kHeadDim / 32; ++j) {
        copy_async(&stage[2 * j][lane], from + j * 4);
        copy_async(&stage[2 * j + 1][lane], from + 8 * row_vectors + j * 4);
      }
    }
    commit_copies();
  }

  /// The 16 keys whose copies are the last group but one. `next`: begins to fetch what follows, into the same
  /// place.
  template <class Next>
  __device__ void keys(const uint4* q, const uint4 (*key_stage)[kWarp], const uint4 (*value_stage)[kWarp],
                       int position, int first, int last, int lane, Next next) {
    const int g = lane / 4;
    const int t = lane % 4;
    constexpr int kStride = Shared<kHeadDim>::kQueryStride;

    // q kᵀ: heads rounded and rest on the long side, keys on the short. Two sums of 8 keys, each in two
    // parts.
    wait_copies<1>();
    float score[2][4] = {};
    float score_odd[2][4] = {};
#pragma unroll 4
    for (int j = 0; j < kHeadDim / 32; ++j) {
      const uint4 rounded = q[g * kStride + j * 4 + t];
      const uint4 rest = q[(kHeads + g) * kStride + j * 4 + t];
#pragma unroll
      for (int b = 0; b < 2; ++b) {
        const uint4 key = key_stage[2 * j + b][lane];
        multiply_add(score[b], rounded.x, rest.x, rounded.y, rest.y, key.x, key.y);
        multiply_add(score_odd[b], rounded.z, rest.z, rounded.w, rest.w, key.z, key.w);
      }
    }
#pragma unroll
    for (int i = 0; i < 8; ++i) score[i / 4][i % 4] += score_odd[i / 4][i % 4];
    next(false);
    float p[4];  // of head g: keys 2t, 2t + 1, 8 + 2t, 9 + 2t
    float new_top = top;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int key = position + i / 2 * 8 + 2 * t + i % 2;
      p[i] = key >= first && key <= last ? score[i / 2][i % 2] + score[i / 2][2 + i % 2] : -INFINITY;
      new_top = fmaxf(new_top, p[i]);
    }
    new_top = fmaxf(new_top, __shfl_xor_sync(0xffffffffU, new_top, 1));
    new_top = fmaxf(new_top, __shfl_xor_sync(0xffffffffU, new_top, 2));
    const float keep = softmax_weight(top, new_top);
    top = new_top;
    float added = 0;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      p[i] = softmax_weight(p[i], new_top);
      added += p[i];
    }
    sum = sum * keep + added;  // of this lane's keys; over t at the end
    const float keep_0 = __shfl_sync(0xffffffffU, keep, 8 * t);
    const float keep_1 = __shfl_sync(0xffffffffU, keep, 8 * t + 4);

    // vᵀ p: values on the long side, heads on the short.
    const uint32_t rounded_0 = pack_bf16(p[0], p[1]), rounded_1 = pack_bf16(p[2], p[3]);
    const uint32_t rest_0 = pack_bf16(bf16_rest(p[0]), bf16_rest(p[1]));
    const uint32_t rest_1 = pack_bf16(bf16_rest(p[2]), bf16_rest(p[3]));
    wait_copies<1>();
#pragma unroll
    for (int d = 0; d < kHeadDim / 64; ++d) {
      uint4 value[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) value[i] = value_stage[4 * d + i][lane];
      const auto word = [&](int i, int m) {
        return m == 0 ? value[i].x : m == 1 ? value[i].y : m == 2 ? value[i].z : value[i].w;
      };
#pragma unroll
      for (int m = 0; m < 4; ++m) {
        const uint32_t a0 = __byte_perm(word(0, m), word(1, m), 0x5410);
        const uint32_t a1 = __byte_perm(word(0, m), word(1, m), 0x7632);
        const uint32_t a2 = __byte_perm(word(2, m), word(3, m), 0x5410);
        const uint32_t a3 = __byte_perm(word(2, m), word(3, m), 0x7632);
        float(&to)[4] = out[d][m];
        to[0] *= keep_0;
        to[1] *= keep_1;
        to[2] *= keep_0;
        to[3] *= keep_1;
        multiply_add(to, a0, a1, a2, a3, rounded_0, rounded_1);
        multiply_add(to, a0, a1, a2, a3, rest_0, rest_1);
      }
    }
    next(true);
  }

  __device__ void leave(Shared<kHeadDim>& shared, int warp, int lane) {
    const int g = lane / 4;
    const int t = lane % 4;
    sum += __shfl_xor_sync(0xffffffffU, sum, 1);
    sum += __shfl_xor_sync(0xffffffffU, sum, 2);
    if (t == 0) {
      shared.top[warp][g] = top;
      shared.sum[warp][g] = sum;
    }
#pragma unroll
    for (int d = 0; d < kHeadDim / 64; ++d) {
#pragma unroll
      for (int m = 0; m < 4; ++m) {
        const int at = d * 64 + 8 * g + 2 * m;
        *reinterpret_cast<float2*>(&shared.warp[warp].out[2 * t][at]) = {out[d][m][0], out[d][m][2]};
        *reinterpret_cast<float2*>(&shared.warp[warp].out[2 * t + 1][at]) = {out[d][m][1], out[d][m][3]};
      }
    }
  }
};

/// A block: the cluster's result for query head h of a K/V head, 4 values a thread, as fragments; through
/// memory when clusters share the row.
template <int kHeadDim>
__device__ inline void write_head(const DecodeAttention& args, int64_t r, int kv_head, int h, int group,
                                  bool active, float4 value, float top, float sum) {
  if (h >= group) return;
  const auto thread = static_cast<int>(threadIdx.x);
  const int64_t query = r * args.shape.q_heads + int64_t{kv_head} * group + h;
  if (args.clusters > 1) {
    // The last cluster to come adds up what all have left.
    constexpr int kWidth = partial_width(kHeadDim);
    float* const partial = args.partial + query * args.clusters * kWidth;
    float* const own = partial + static_cast<int64_t>(blockIdx.x) / kCluster * kWidth;
    if (active) reinterpret_cast<float4*>(own)[thread] = value;
    if (thread == 0) {
      own[kHeadDim] = top;
      own[kHeadDim + 1] = sum;
    }
    __shared__ bool is_last;
    __threadfence();
    __syncthreads();
    if (thread == 0) {
      is_last = atomicAdd(args.arrived + query, 1) == args.clusters - 1;
      if (is_last) args.arrived[query] = 0;
    }
    __syncthreads();
    if (!is_last) return;
    __threadfence();
    if (active) {
      top = -INFINITY;
      for (int c = 0; c < args.clusters; ++c) top = fmaxf(top, __ldcg(partial + c * kWidth + kHeadDim));
      sum = 0;
      value = {};
      for (int c = 0; c < args.clusters; ++c) {
        const float weight = softmax_weight(__ldcg(partial + c * kWidth + kHeadDim), top);
        sum += weight * __ldcg(partial + c * kWidth + kHeadDim + 1);
        const float4 v = __ldcg(reinterpret_cast<const float4*>(partial + c * kWidth) + thread);
        value = {fmaf(weight, v.x, value.x), fmaf(weight, v.y, value.y), fmaf(weight, v.z, value.z),
                 fmaf(weight, v.w, value.w)};
      }
    }
  }
  if (!active) return;
  const float inverse = 1.0F / sum;
  value = {value.x * inverse, value.y * inverse, value.z * inverse, value.w * inverse};
  if (args.values != nullptr) {
    reinterpret_cast<float4*>(args.values + query * kHeadDim)[thread] = value;
    return;
  }
  // As fragments of the projection's input.
  float eight[8];
  share_columns(value, __activemask(), eight);  // whole warps
  const bool odd = thread % 2 == 1;
  const int64_t chunk = (int64_t{kv_head} * group + h) * (kHeadDim / 8) + chunk_place(thread / 2);
  args.out.chunks[(2 * r + (odd ? 1 : 0)) * args.out.stride + chunk] = chunk_of(eight, odd);
}

/// Grid: (8 · clusters, kv_heads, rows), clusters of 8.
template <int kHeadDim>
__global__ void __launch_bounds__(kThreads, 2)
    decode_attention_kernel(const __grid_constant__ DecodeAttention args) {
#if __CUDA_ARCH__ >= 900
  extern __shared__ uint4 memory[];
  auto& shared = *reinterpret_cast<Shared<kHeadDim>*>(memory);
  const cg::cluster_group cluster = cg::this_cluster();
  const auto rank = static_cast<int>(cluster.block_rank());
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const auto kv_head = static_cast<int>(blockIdx.y);
  const int64_t r = blockIdx.z;
  const int group = args.shape.q_heads / args.shape.kv_heads;
  let_next_start();

  // Uploaded before the step: positions, sequences and pages.
  const int32_t sequence = args.rows.sequences[r];
  const int last = args.rows.positions[r];
  const int first = args.shape.window > 0 ? max(0, last - args.shape.window + 1) : 0;
  const int first_tile = first / kKeys;
  const int tiles = last / kKeys - first_tile + 1;
  const auto blocks = static_cast<int>(gridDim.x);
  const int begin = first_tile + tiles * static_cast<int>(blockIdx.x) / blocks;
  const int end = first_tile + tiles * (static_cast<int>(blockIdx.x) + 1) / blocks;

  using Values = Head<kHeadDim>;
  using Attention = WarpAttention<kHeadDim>;
  auto& own = shared.warp[warp];
  const auto fetch = [&](int tile, bool values) {  // nothing, but counted, past the end
    const int64_t slot = tile < end ? token_slot(args.kv, sequence, tile * kKeys) : 0;
    if (tile >= end)
      commit_copies();
    else if (values)
      Attention::template fetch<true>(args.kv, slot, kv_head, own.stage[1], lane);
    else
      Attention::template fetch<false>(args.kv, slot, kv_head, own.stage[0], lane);
  };
  // All keys but the step's own were stored in earlier steps.
  const int mine_first = begin + warp;
  const bool early = mine_first != last / kKeys;
  if (early) {
    fetch(mine_first, false);
    fetch(mine_first, true);
  }
#pragma unroll 1
  for (auto i = static_cast<int>(threadIdx.x); i < kHeadDim / 2; i += kThreads)
    sincosf(static_cast<float>(last) * __ldg(args.shape.inv_freq + i), &shared.sine[i], &shared.cosine[i]);
  __syncthreads();
  wait_for_previous();

  for (int h = warp; h < kHeads; h += kWarps) {  // heads that there are not stay zero
    auto* rounded = reinterpret_cast<uint2*>(shared.q + h * Shared<kHeadDim>::kQueryStride);
    auto* rest = reinterpret_cast<uint2*>(shared.q + (kHeads + h) * Shared<kHeadDim>::kQueryStride);
    Values head{};
    if (h < group) {
      head.load(args.q + (r * args.shape.q_heads + int64_t{kv_head} * group + h) * kHeadDim, args.q_norm,
                true, args.eps, lane);
      head.rotate(shared.cosine, shared.sine, lane);
    }
    const float scale = args.shape.scale;
#pragma unroll
    for (int i = 0; i < Values::kVectors; ++i) {
      float4& a = head.low[i];
      float4& b = head.high[i];
      a = {a.x * scale, a.y * scale, a.z * scale, a.w * scale};
      b = {b.x * scale, b.y * scale, b.z * scale, b.w * scale};
      const int at = i * kWarp + lane;
      rounded[at] = Values::rounded(a);
      rest[at] = Values::rest(a);
      rounded[kHeadDim / 8 + at] = Values::rounded(b);
      rest[kHeadDim / 8 + at] = Values::rest(b);
    }
  }
  // The block with the row's last keys stores the new ones first; none of the others needs them.
  if (args.k != nullptr && end == last / kKeys + 1 && begin < end && warp < 2) {
    Values head;
    const int64_t in = (r * args.shape.kv_heads + kv_head) * kHeadDim;
    if (warp == 0) {
      head.load(args.k + in, args.k_norm, true, args.eps, lane);
      head.rotate(shared.cosine, shared.sine, lane);
    } else {
      head.load(args.v + in, nullptr, args.v_norm, args.eps, lane);
    }
    const int64_t slot = token_slot(args.kv, sequence, last) * args.kv.kv_heads + kv_head;
    auto* to = reinterpret_cast<uint2*>(warp == 0 ? args.kv.k : args.kv.v) + slot * (kHeadDim / 4);
#pragma unroll
    for (int i = 0; i < Values::kVectors; ++i) {
      to[i * kWarp + lane] = Values::rounded(head.low[i]);
      to[kHeadDim / 8 + i * kWarp + lane] = Values::rounded(head.high[i]);
    }
  }
  __syncthreads();

  if (!early) {
    fetch(mine_first, false);
    fetch(mine_first, true);
  }
  {
    Attention mine;
#pragma unroll 1
    for (int tile = mine_first; tile < end; tile += kWarps)
      mine.keys(shared.q, own.stage[0], own.stage[1], tile * kKeys, first, last, lane,
                [&](bool values) { fetch(tile + kWarps, values); });
    wait_copies<0>();
    __syncwarp();
    mine.leave(shared, warp, lane);
  }
  __syncthreads();

  // The block's warps into one.
  for (int h = warp; h < kHeads; h += kWarps) {
    float top = -INFINITY;
#pragma unroll
    for (int w = 0; w < kWarps; ++w) top = fmaxf(top, shared.top[w][h]);
    float weight[kWarps];
    float sum = 0;
#pragma unroll
    for (int w = 0; w < kWarps; ++w) {
      weight[w] = softmax_weight(shared.top[w][h], top);
      sum += weight[w] * shared.sum[w][h];
    }
#pragma unroll 2
    for (int i = lane; i < kHeadDim; i += kWarp) {
      float value = 0;
#pragma unroll
      for (int w = 0; w < kWarps; ++w) value = fmaf(weight[w], shared.warp[w].out[h][i], value);
      shared.warp[0].out[h][i] = value;
    }
    if (lane == 0) {
      shared.block_top[h] = top;
      shared.block_sum[h] = sum;
    }
  }
  cluster.sync();

  // The cluster's blocks into one: block h makes head h, 4 values a thread.
  const int h = rank;
  const auto thread = static_cast<int>(threadIdx.x);
  static_assert(kThreads >= kHeadDim / 4);
  const bool active = h < group && thread < kHeadDim / 4;
  float4 value{};
  float top = -INFINITY;
  float sum = 0;
  if (active) {
    float tops[kCluster];
#pragma unroll
    for (int b = 0; b < kCluster; ++b) {
      tops[b] = cluster.map_shared_rank(shared.block_top, b)[h];
      top = fmaxf(top, tops[b]);
    }
#pragma unroll
    for (int b = 0; b < kCluster; ++b) {
      const float weight = softmax_weight(tops[b], top);
      sum += weight * cluster.map_shared_rank(shared.block_sum, b)[h];
      const auto* from =
          reinterpret_cast<const float2*>(cluster.map_shared_rank(&shared.warp[0].out[0][0], b) +
                                          h * Shared<kHeadDim>::kOutStride + 4 * thread);
      const float2 low = from[0];
      const float2 high = from[1];
      value.x = fmaf(weight, low.x, value.x);
      value.y = fmaf(weight, low.y, value.y);
      value.z = fmaf(weight, high.x, value.z);
      value.w = fmaf(weight, high.y, value.w);
    }
  }
  // Before a block leaves with its shared memory, the others have read it.
  auto read = cluster.barrier_arrive();
  write_head<kHeadDim>(args, r, kv_head, h, group, active, value, top, sum);
  cluster.barrier_wait(std::move(read));
#endif
}

template <int kHeadDim>
void launch(const DecodeAttention& args, cudaStream_t stream) {
  LaunchShape shape;
  shape.grid = dim3(static_cast<unsigned>(kCluster * args.clusters),
                    static_cast<unsigned>(args.shape.kv_heads), static_cast<unsigned>(args.rows.count));
  shape.cluster = kCluster;
  shape.threads = kThreads;
  shape.shared = sizeof(Shared<kHeadDim>);
  launch_dependent(decode_attention_kernel<kHeadDim>, shape, stream, args);
}

}  // namespace

bool serves_decode(const AttentionShape& shape, KvType type) noexcept {
  return type == KvType::kBF16 && (shape.head_dim == 256 || shape.head_dim == 512) &&
         shape.q_heads % shape.kv_heads == 0 && shape.q_heads / shape.kv_heads <= kHeads;
}

int decode_clusters(const AttentionShape& shape, int position, int rows) noexcept {
  const int keys = shape.window > 0 ? std::min(shape.window, position + 1) : position + 1;
  const int wanted = (keys + kKeysPerCluster - 1) / kKeysPerCluster;
  const int most = std::max(1, kMostClusters / (rows * shape.kv_heads));
  int clusters = 1;
  while (clusters < wanted && clusters < most) clusters *= 2;
  return std::min(clusters, most);
}

void decode_attention(const DecodeAttention& args, cudaStream_t stream) {
  if (args.shape.head_dim == 256)
    launch<256>(args, stream);
  else
    launch<512>(args, stream);
}

}  // namespace facet::cuda
