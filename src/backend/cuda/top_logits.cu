// The likeliest tokens of a row of logits, so that the host need not see the rest.
//
// Twice the same selection: every block finds the largest of its stretch of the row, then one block a row the
// largest of those. A block finds the count-th largest key eight bits at a time with a histogram, and keeps
// what lies above it, and of its equals the lowest ids.
#include <algorithm>

#include "backend/cuda/decode.h"
#include "backend/cuda/dependent_launch.cuh"
#include "backend/cuda/elements.cuh"

namespace facet::cuda {
namespace {

constexpr int kThreads = 1024;
constexpr int kEach = 4;  // values of a thread
constexpr int kStretch = kThreads * kEach;
static_assert(kStretch == kTopCandidates);
constexpr int kDigits = 256;

/// Larger for larger floats; 0, less than any number's, for NaN.
__device__ inline uint32_t key_of(float v) {
  if (isnan(v)) return 0;
  const uint32_t bits = __float_as_uint(v);
  return (bits & 0x80000000U) != 0 ? ~bits : bits | 0x80000000U;
}
__device__ inline float value_of(uint32_t key) {
  if (key == 0) return nanf("");
  return __uint_as_float((key & 0x80000000U) != 0 ? key & 0x7fffffffU : ~key);
}

struct Selection {
  int digits[kDigits];
  int digit;      // of the count-th largest key, at this place
  int remaining;  // how many of those with this digit are wanted
  int written;
  int ties;
  int tie[kStretch];
};

/// Writes the `count` largest of the block's keys, with their ids, in any order; ids with `valid` false do
/// not count. Of equal keys the lower ids.
__device__ inline void select(const uint32_t (&key)[kEach], const int32_t (&id)[kEach],
                              const bool (&valid)[kEach], int count, Selection& s, int32_t* ids,
                              uint32_t* keys) {
  const auto thread = static_cast<int>(threadIdx.x);
  uint32_t prefix = 0;
  uint32_t mask = 0;
  if (thread == 0) {
    s.remaining = count;
    s.written = 0;
    s.ties = 0;
  }
  for (int shift = 24; shift >= 0; shift -= 8) {
    if (thread < kDigits) s.digits[thread] = 0;
    __syncthreads();
#pragma unroll
    for (int i = 0; i < kEach; ++i)
      if (valid[i] && (key[i] & mask) == prefix) atomicAdd(&s.digits[(key[i] >> shift) & 255U], 1);
    __syncthreads();
    if (thread < kWarp) {  // from the largest digit down: the one in which the count-th lies
      int own = 0;
      for (int d = 0; d < kDigits / kWarp; ++d)
        own += s.digits[kDigits - 1 - (thread * (kDigits / kWarp) + d)];
      int before = own;  // then of the lanes up to this one
      for (int offset = 1; offset < kWarp; offset *= 2) {
        const int other = __shfl_up_sync(0xffffffffU, before, offset);
        if (thread >= offset) before += other;
      }
      before -= own;
      const int wanted = s.remaining;
      __syncwarp();
      if (before < wanted && (before + own >= wanted || thread == kWarp - 1)) {
        int d = 0;
        int digit = kDigits - 1 - thread * (kDigits / kWarp);
        for (; d < kDigits / kWarp - 1 && before + s.digits[digit] < wanted; ++d) before += s.digits[digit--];
        s.digit = digit;
        s.remaining = wanted - before;
      }
    }
    __syncthreads();
    prefix |= static_cast<uint32_t>(s.digit) << shift;
    mask |= 255U << shift;
  }
  // Ties at the border beyond what is wanted are rare: then each counts the lower ids.
#pragma unroll
  for (int i = 0; i < kEach; ++i)
    if (valid[i] && key[i] == prefix) s.tie[atomicAdd(&s.ties, 1)] = id[i];
  __syncthreads();
#pragma unroll
  for (int i = 0; i < kEach; ++i) {
    if (!valid[i] || key[i] < prefix) continue;
    if (key[i] == prefix && s.ties > s.remaining) {
      int lower = 0;
      for (int t = 0; t < s.ties; ++t) lower += s.tie[t] < id[i] ? 1 : 0;
      if (lower >= s.remaining) continue;
    }
    const int at = atomicAdd(&s.written, 1);
    ids[at] = id[i];
    keys[at] = key[i];
  }
}

/// Grid: (stretches, rows). Candidates: [rows, stretches, count].
__global__ void __launch_bounds__(kThreads)
    select_stretches_kernel(const float* logits, int width, int count, int32_t* ids, uint32_t* keys) {
  __shared__ Selection selection;
  let_next_start();
  wait_for_previous();
  const int64_t row = blockIdx.y;
  uint32_t key[kEach];
  int32_t id[kEach];
  bool valid[kEach];
#pragma unroll
  for (int i = 0; i < kEach; ++i) {
    id[i] = static_cast<int32_t>(blockIdx.x * kStretch + i * kThreads + threadIdx.x);
    valid[i] = id[i] < width;
    key[i] = valid[i] ? key_of(__ldcg(logits + row * width + id[i])) : 0;
  }
  const int64_t out = (row * gridDim.x + blockIdx.x) * count;
  // A last stretch of fewer values leaves the rest of its places to ids that nothing has.
  for (auto i = static_cast<int>(threadIdx.x); i < count; i += kThreads) ids[out + i] = -1;
  __syncthreads();
  select(key, id, valid, min(count, width - static_cast<int>(blockIdx.x) * kStretch), selection, ids + out,
         keys + out);
}

/// Grid: rows. All of a row's candidates fit one block.
__global__ void __launch_bounds__(kThreads)
    select_rows_kernel(const int32_t* ids, const uint32_t* keys, int candidates, int count, int32_t* out_ids,
                       float* out_values) {
  __shared__ Selection selection;
  __shared__ int32_t best_ids[kMostTop];
  __shared__ uint32_t best_keys[kMostTop];
  let_next_start();
  wait_for_previous();
  const int64_t row = blockIdx.x;
  const auto thread = static_cast<int>(threadIdx.x);
  uint32_t key[kEach];
  int32_t id[kEach];
  bool valid[kEach];
#pragma unroll
  for (int i = 0; i < kEach; ++i) {
    const int at = i * kThreads + thread;
    id[i] = at < candidates ? __ldcg(ids + row * candidates + at) : -1;
    valid[i] = id[i] >= 0;
    key[i] = valid[i] ? __ldcg(keys + row * candidates + at) : 0;
  }
  select(key, id, valid, count, selection, best_ids, best_keys);
  __syncthreads();
  if (thread >= count) return;
  const bool there = thread < selection.written;
  out_ids[row * count + thread] = there ? best_ids[thread] : -1;
  out_values[row * count + thread] = there ? value_of(best_keys[thread]) : -INFINITY;
}

int stretches(int width) {
  return (width + kStretch - 1) / kStretch;
}

}  // namespace

int most_top(int width) noexcept {
  return std::min({kMostTop, width, kStretch / stretches(width)});
}

void top(const float* logits, int rows, int width, int count, const TopScratch& scratch, int32_t* ids,
         float* values, cudaStream_t stream) {
  LaunchShape shape;
  shape.grid = dim3(static_cast<unsigned>(stretches(width)), static_cast<unsigned>(rows));
  shape.threads = kThreads;
  launch_dependent(select_stretches_kernel, shape, stream, logits, width, count, scratch.ids, scratch.keys);
  shape.grid = static_cast<unsigned>(rows);
  launch_dependent(select_rows_kernel, shape, stream, scratch.ids, scratch.keys, stretches(width) * count,
                   count, ids, values);
}

}  // namespace facet::cuda
