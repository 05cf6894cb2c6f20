// Products with stored weights: one pass over them for up to kGemvRows rows of activations, and conversions
// for the library that multiplies larger blocks.
#include <algorithm>

#include "backend/cuda/elements.cuh"
#include "backend/cuda/kernels.h"

namespace facet::cuda {
namespace {

constexpr int kWarps = 4;    // a block
constexpr int kOutputs = 2;  // weight rows a warp

/// Elements that a lane loads at once: 8 or 16 bytes, within a group.
template <Codes kCodes>
constexpr int kStep = kCodes == Codes::kF32                             ? 4
                      : kCodes == Codes::kF16 || kCodes == Codes::kBF16 ? 8
                                                                        : 16;

/// A small unsigned number as a float, without the slow conversion: the low bits of 2^23 + code.
__device__ inline float exact_float(uint32_t code) {
  return __uint_as_float(0x4B000000U | code) - 8388608.0F;
}

/// kStep elements from [row, k] on: codes where there are groups, values where there are none.
template <Codes kCodes>
__device__ inline void load_codes(const DeviceMatrix& m, int64_t row, int64_t k, float* c) {
  const int64_t i = row * m.cols + k;
  if constexpr (kCodes == Codes::kF32) {
    const float4 v = __ldg(reinterpret_cast<const float4*>(static_cast<const float*>(m.codes) + i));
    c[0] = v.x;
    c[1] = v.y;
    c[2] = v.z;
    c[3] = v.w;
  } else if constexpr (kCodes == Codes::kQ4) {
    const uint2 v = __ldg(reinterpret_cast<const uint2*>(static_cast<const uint8_t*>(m.codes) + i / 2));
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      c[j] = exact_float((v.x >> (4 * j)) & 15U);
      c[8 + j] = exact_float((v.y >> (4 * j)) & 15U);
    }
  } else {
    constexpr int kBytes = kCodes == Codes::kQ8 ? 1 : 2;
    const uint4 v = __ldg(reinterpret_cast<const uint4*>(static_cast<const uint8_t*>(m.codes) + i * kBytes));
    const uint32_t words[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
    for (int w = 0; w < 4; ++w) {
      if constexpr (kCodes == Codes::kQ8) {
#pragma unroll
        for (int j = 0; j < 4; ++j) c[4 * w + j] = exact_float((words[w] >> (8 * j)) & 255U);
      } else if constexpr (kCodes == Codes::kBF16) {
        c[2 * w] = __uint_as_float(words[w] << 16);
        c[2 * w + 1] = __uint_as_float(words[w] & 0xffff0000U);
      } else {
        const float2 pair = __half22float2(*reinterpret_cast<const __half2*>(&words[w]));
        c[2 * w] = pair.x;
        c[2 * w + 1] = pair.y;
      }
    }
  }
}

template <Codes kCodes, Pairs kPairs, int kRows>
__global__ void __launch_bounds__(kWarps* kWarp)
    multiply_kernel(DeviceMatrix w, const float* __restrict__ x, int64_t out, float* __restrict__ y,
                    int64_t ldy) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int64_t first = (int64_t{blockIdx.x} * kWarps + threadIdx.x / kWarp) * kOutputs;
  if (first >= out) return;
  float acc[kRows][kOutputs] = {};
  for (int64_t k = int64_t{lane} * kStep<kCodes>; k < w.cols; k += int64_t{kWarp} * kStep<kCodes>) {
    float c[kOutputs][kStep<kCodes>];
    Pair p[kOutputs];
#pragma unroll
    for (int o = 0; o < kOutputs; ++o) {
      const int64_t row = min(first + o, out - 1);  // the last warp may do a row twice
      load_codes<kCodes>(w, row, k, c[o]);
      if constexpr (kPairs != Pairs::kNone)
        p[o] = pair_at<kPairs>(w.pairs, row * (w.cols / w.group) + k / w.group);
    }
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      float in[kStep<kCodes>];
      float sum = 0;
#pragma unroll
      for (int j = 0; j < kStep<kCodes>; j += 4) {
        const float4 v = __ldg(reinterpret_cast<const float4*>(x + r * w.cols + k + j));
        in[j] = v.x;
        in[j + 1] = v.y;
        in[j + 2] = v.z;
        in[j + 3] = v.w;
        if constexpr (kPairs != Pairs::kNone) sum += (v.x + v.y) + (v.z + v.w);
      }
#pragma unroll
      for (int o = 0; o < kOutputs; ++o) {
        float dot = 0;
#pragma unroll
        for (int j = 0; j < kStep<kCodes>; ++j) dot = fmaf(in[j], c[o][j], dot);
        if constexpr (kPairs == Pairs::kNone)
          acc[r][o] += dot;
        else
          acc[r][o] += p[o].scale * dot + p[o].bias * sum;
      }
    }
  }
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
#pragma unroll
    for (int o = 0; o < kOutputs; ++o) {
      const float total = warp_sum(acc[r][o]);
      if (lane == 0 && first + o < out) y[r * ldy + first + o] = total;
    }
  }
}

/// Any number of columns. A warp an output, a block row of the grid a row of activations.
__global__ void multiply_any_kernel(DeviceMatrix w, const float* x, int64_t out, float* y) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int64_t o = int64_t{blockIdx.x} * kWarps + threadIdx.x / kWarp;
  if (o >= out) return;
  const float* in = x + int64_t{blockIdx.y} * w.cols;
  float acc = 0;
  for (int64_t k = lane; k < w.cols; k += kWarp) acc = fmaf(in[k], element(w, o, k), acc);
  acc = warp_sum(acc);
  if (lane == 0) y[int64_t{blockIdx.y} * out + o] = acc;
}

template <Codes kCodes, Pairs kPairs, int kRows>
void launch_rows(const DeviceMatrix& w, const float* x, int rows, int64_t out, float* y,
                 cudaStream_t stream) {
  if constexpr (kRows > 1)
    if (rows < kRows) return launch_rows<kCodes, kPairs, kRows - 1>(w, x, rows, out, y, stream);
  const auto blocks = static_cast<unsigned>((out + kWarps * kOutputs - 1) / (kWarps * kOutputs));
  multiply_kernel<kCodes, kPairs, kRows><<<blocks, kWarps * kWarp, 0, stream>>>(w, x, out, y, out);
}

template <Codes kCodes, Pairs kPairs>
void launch(const DeviceMatrix& w, const float* x, int rows, int64_t out, float* y, cudaStream_t stream) {
  for (int r = 0; r < rows; r += kGemvRows)
    launch_rows<kCodes, kPairs, kGemvRows>(w, x + r * w.cols, std::min(kGemvRows, rows - r), out, y + r * out,
                                           stream);
}

/// Calls f.template operator()<codes, pairs>() for a matrix's kinds.
template <class F>
void for_kinds(const DeviceMatrix& w, F f) {
  const auto quantised = [&]<Codes kCodes>() {
    switch (w.pairs_kind) {
      case Pairs::kF16: return f.template operator()<kCodes, Pairs::kF16>();
      case Pairs::kBF16: return f.template operator()<kCodes, Pairs::kBF16>();
      default: return f.template operator()<kCodes, Pairs::kF32>();
    }
  };
  switch (w.codes_kind) {
    case Codes::kF32: return f.template operator()<Codes::kF32, Pairs::kNone>();
    case Codes::kF16: return f.template operator()<Codes::kF16, Pairs::kNone>();
    case Codes::kBF16: return f.template operator()<Codes::kBF16, Pairs::kNone>();
    case Codes::kQ4: return quantised.template operator()<Codes::kQ4>();
    case Codes::kQ8: return quantised.template operator()<Codes::kQ8>();
  }
}

template <Codes kCodes, Pairs kPairs>
__global__ void to_bf16_kernel(DeviceMatrix w, int64_t steps, __nv_bfloat16* out) {
  const int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i >= steps) return;
  const int64_t at = i * kStep<kCodes>;
  const int64_t row = at / w.cols;
  const int64_t k = at % w.cols;
  float c[kStep<kCodes>];
  load_codes<kCodes>(w, row, k, c);
  if constexpr (kPairs != Pairs::kNone) {
    const Pair p = pair_at<kPairs>(w.pairs, row * (w.cols / w.group) + k / w.group);
#pragma unroll
    for (int j = 0; j < kStep<kCodes>; ++j) c[j] = fmaf(p.scale, c[j], p.bias);
  }
  auto* to = reinterpret_cast<__nv_bfloat162*>(out + at);
#pragma unroll
  for (int j = 0; j < kStep<kCodes>; j += 2) to[j / 2] = __floats2bfloat162_rn(c[j], c[j + 1]);
}

__global__ void floats_to_bf16_kernel(const float* x, int64_t count, __nv_bfloat16* out) {
  const int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i < count) out[i] = __float2bfloat16_rn(x[i]);
}

__global__ void gather_kernel(DeviceMatrix table, const int32_t* ids, int64_t cols, float scale, float* out) {
  const int64_t r = blockIdx.x;
  for (int64_t i = threadIdx.x; i < cols; i += blockDim.x)
    out[r * cols + i] = element(table, ids[r], i) * scale;
}

/// One thread a row: the number of experts is small.
__global__ void choose_experts_kernel(const float* probabilities, int experts, int top_k,
                                      const float* per_expert_scale, int32_t* chosen, float* weights,
                                      int rows) {
  const auto r = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (r >= rows) return;
  const float* p = probabilities + int64_t{r} * experts;
  int32_t* mine = chosen + int64_t{r} * top_k;
  float* weight = weights + int64_t{r} * top_k;
  float sum = 0;
  for (int k = 0; k < top_k; ++k) {
    int best = -1;  // the largest not yet taken; of equals the lower index
    for (int e = 0; e < experts; ++e) {
      bool taken = false;
      for (int i = 0; i < k; ++i) taken = taken || mine[i] == e;
      if (!taken && (best < 0 || p[e] > p[best])) best = e;
    }
    mine[k] = best;
    sum += p[best];
  }
  for (int k = 0; k < top_k; ++k) weight[k] = p[mine[k]] / sum * per_expert_scale[mine[k]];
}

/// Grid: (ffn_dim / kWarps, rows · top_k). A warp an output of one expert.
__global__ void experts_gate_up_kernel(DeviceMatrix gate_up, const float* h, const int32_t* chosen, int top_k,
                                       int ffn_dim, float* m) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int64_t o = int64_t{blockIdx.x} * kWarps + threadIdx.x / kWarp;
  if (o >= ffn_dim) return;
  const int64_t slot = blockIdx.y;
  const float* in = h + slot / top_k * gate_up.cols;
  const int64_t row = int64_t{chosen[slot]} * 2 * ffn_dim + o;
  float gate = 0;
  float up = 0;
  for (int64_t k = lane; k < gate_up.cols; k += kWarp) {
    gate = fmaf(in[k], element(gate_up, row, k), gate);
    up = fmaf(in[k], element(gate_up, row + ffn_dim, k), up);
  }
  gate = warp_sum(gate);
  up = warp_sum(up);
  if (lane == 0) m[slot * ffn_dim + o] = gelu_tanh(gate) * up;
}

/// Grid: (hidden / kWarps, rows). A warp an output, summed over the row's experts in their order.
__global__ void experts_down_kernel(DeviceMatrix down, const float* m, const int32_t* chosen,
                                    const float* weights, int top_k, int64_t hidden, float* out) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int64_t o = int64_t{blockIdx.x} * kWarps + threadIdx.x / kWarp;
  if (o >= hidden) return;
  const int64_t r = blockIdx.y;
  float total = 0;
  for (int k = 0; k < top_k; ++k) {
    const int64_t slot = r * top_k + k;
    const float* in = m + slot * down.cols;
    const int64_t row = chosen[slot] * hidden + o;
    float dot = 0;
    for (int64_t i = lane; i < down.cols; i += kWarp) dot = fmaf(in[i], element(down, row, i), dot);
    total = fmaf(weights[slot], warp_sum(dot), total);
  }
  if (lane == 0) out[r * hidden + o] = total;
}

constexpr int64_t kMostGridRows = 65535;  // of blockIdx.y

unsigned ceil_div(int64_t a, int64_t b) {
  return static_cast<unsigned>((a + b - 1) / b);
}

}  // namespace

void multiply(const DeviceMatrix& w, const float* x, int rows, int64_t out, float* y, cudaStream_t stream) {
  if (rows == 0 || out == 0) return;
  if (w.cols % 16 == 0) {
    for_kinds(w, [&]<Codes kCodes, Pairs kPairs>() { launch<kCodes, kPairs>(w, x, rows, out, y, stream); });
    return;
  }
  for (int64_t r = 0; r < rows; r += kMostGridRows) {
    const dim3 grid(ceil_div(out, kWarps), static_cast<unsigned>(std::min(kMostGridRows, rows - r)));
    multiply_any_kernel<<<grid, kWarps * kWarp, 0, stream>>>(w, x + r * w.cols, out, y + r * out);
  }
}

void to_bf16(const DeviceMatrix& w, int64_t rows, void* out, cudaStream_t stream) {
  for_kinds(w, [&]<Codes kCodes, Pairs kPairs>() {
    const int64_t steps = rows * w.cols / kStep<kCodes>;
    to_bf16_kernel<kCodes, kPairs>
        <<<ceil_div(steps, 256), 256, 0, stream>>>(w, steps, static_cast<__nv_bfloat16*>(out));
  });
}

void to_bf16(const float* x, int64_t count, void* out, cudaStream_t stream) {
  if (count > 0)
    floats_to_bf16_kernel<<<ceil_div(count, 256), 256, 0, stream>>>(x, count,
                                                                    static_cast<__nv_bfloat16*>(out));
}

void gather(const DeviceMatrix& table, const int32_t* ids, int rows, int64_t cols, float scale, float* out,
            cudaStream_t stream) {
  if (rows > 0) gather_kernel<<<static_cast<unsigned>(rows), 256, 0, stream>>>(table, ids, cols, scale, out);
}

void choose_experts(const float* probabilities, int rows, int experts, int top_k,
                    const float* per_expert_scale, int32_t* chosen, float* weights, cudaStream_t stream) {
  choose_experts_kernel<<<ceil_div(rows, 64), 64, 0, stream>>>(probabilities, experts, top_k,
                                                               per_expert_scale, chosen, weights, rows);
}

void experts_gate_up(const DeviceMatrix& gate_up, const float* h, const int32_t* chosen, int rows, int top_k,
                     int ffn_dim, float* m, cudaStream_t stream) {
  const dim3 grid(ceil_div(ffn_dim, kWarps), static_cast<unsigned>(rows * top_k));
  experts_gate_up_kernel<<<grid, kWarps * kWarp, 0, stream>>>(gate_up, h, chosen, top_k, ffn_dim, m);
}

void experts_down(const DeviceMatrix& down, const float* m, const int32_t* chosen, const float* weights,
                  int rows, int top_k, int64_t hidden, float* out, cudaStream_t stream) {
  const dim3 grid(ceil_div(hidden, kWarps), static_cast<unsigned>(rows));
  experts_down_kernel<<<grid, kWarps * kWarp, 0, stream>>>(down, m, chosen, weights, top_k, hidden, out);
}

}  // namespace facet::cuda
