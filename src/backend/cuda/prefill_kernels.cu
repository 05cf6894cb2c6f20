#include <algorithm>

#include "backend/cuda/elements.cuh"
#include "backend/cuda/kv_slot.cuh"
#include "backend/cuda/prefill_kernels.h"

namespace facet::cuda {
namespace {

constexpr int kMostThreads = 256;
constexpr int kMostHeadWarps = 16;

/// gelu_tanh as x · sigmoid, with the fast exponential: exact to f32's rounding where bf16 is the result.
__device__ inline float gelu_fast(float x) {
  constexpr float kTwoSqrt2OverPi = 1.5957691216057308F;
  return __fdividef(x, 1.0F + __expf(-kTwoSqrt2OverPi * (x + 0.044715F * x * x * x)));
}

/// 2 · kPairs neighbouring values of bf16, in one load or store.
template <int kPairs>
struct alignas(4 * kPairs) Packed {
  __nv_bfloat162 pairs[kPairs];

  __device__ float operator[](int i) const {
    return i % 2 == 0 ? __low2float(pairs[i / 2]) : __high2float(pairs[i / 2]);
  }
};

template <int kPairs>
__device__ inline Packed<kPairs> packed_at(const void* values, int64_t i) {
  return *reinterpret_cast<const Packed<kPairs>*>(static_cast<const __nv_bfloat16*>(values) + i);
}

template <int kPairs>
__device__ inline void store_packed(const float (&from)[2 * kPairs], void* values, int64_t i) {
  Packed<kPairs> packed;
#pragma unroll
  for (int p = 0; p < kPairs; ++p) packed.pairs[p] = __floats2bfloat162_rn(from[2 * p], from[2 * p + 1]);
  *reinterpret_cast<Packed<kPairs>*>(static_cast<__nv_bfloat16*>(values) + i) = packed;
}

/// A thread four values.
__global__ void narrow_kernel(const float* x, int64_t quads, void* out) {
  const int64_t n = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (n >= quads) return;
  const float4 v = reinterpret_cast<const float4*>(x)[n];
  const float values[4] = {v.x, v.y, v.z, v.w};
  store_packed<2>(values, out, 4 * n);
}

// --- norms over a row: a block a row, which stays in registers -------------------------------------------

/// Launches kernel<quads a thread> for rows of `width`.
template <class F>
void for_width(int64_t width, F launch) {
  const int64_t quads = width / 4;
  const auto threads = [&](int64_t a_thread) {
    return static_cast<unsigned>((quads + a_thread * kWarp - 1) / (a_thread * kWarp) * kWarp);
  };
  if (quads <= int64_t{2} * kMostThreads)
    launch.template operator()<2>(threads(2));
  else if (quads <= int64_t{4} * kMostThreads)
    launch.template operator()<4>(threads(4));
  else
    launch.template operator()<8>(threads(8));
}

template <int kQuads>
__global__ void rms_norm_bf16_kernel(const float* x, int64_t width, const float* weight, float eps,
                                     void* out) {
  __shared__ float shared[kWarp];
  const int64_t row = int64_t{blockIdx.x} * width;
  float4 values[kQuads];
  float squares = 0;
#pragma unroll
  for (int q = 0; q < kQuads; ++q) {
    const int64_t i = 4 * (int64_t{q} * blockDim.x + threadIdx.x);
    values[q] = i < width ? *reinterpret_cast<const float4*>(x + row + i) : float4{};
    const float4& v = values[q];
    squares += v.x * v.x + v.y * v.y + v.z * v.z + v.w * v.w;
  }
  const float inverse = rsqrtf(block_reduce<false>(squares, shared) / static_cast<float>(width) + eps);
#pragma unroll
  for (int q = 0; q < kQuads; ++q) {
    const int64_t i = 4 * (int64_t{q} * blockDim.x + threadIdx.x);
    if (i >= width) continue;
    const float4 w = __ldg(reinterpret_cast<const float4*>(weight + i));
    const float4& v = values[q];
    const float normed[4] = {v.x * inverse * w.x, v.y * inverse * w.y, v.z * inverse * w.z,
                             v.w * inverse * w.w};
    store_packed<2>(normed, out, row + i);
  }
}

template <int kQuads>
__global__ void add_rms_norm_kernel(const void* y, int64_t width, const float* weight, float eps, float scale,
                                    float* x) {
  __shared__ float shared[kWarp];
  const int64_t row = int64_t{blockIdx.x} * width;
  float4 residual[kQuads];
  Packed<2> values[kQuads];
  float squares = 0;
#pragma unroll
  for (int q = 0; q < kQuads; ++q) {
    const int64_t i = 4 * (int64_t{q} * blockDim.x + threadIdx.x);
    if (i >= width) continue;
    values[q] = packed_at<2>(y, row + i);
    residual[q] = *reinterpret_cast<const float4*>(x + row + i);
#pragma unroll
    for (int j = 0; j < 4; ++j) squares += values[q][j] * values[q][j];
  }
  const float inverse = rsqrtf(block_reduce<false>(squares, shared) / static_cast<float>(width) + eps);
#pragma unroll
  for (int q = 0; q < kQuads; ++q) {
    const int64_t i = 4 * (int64_t{q} * blockDim.x + threadIdx.x);
    if (i >= width) continue;
    const float4 w = __ldg(reinterpret_cast<const float4*>(weight + i));
    float4 sum = residual[q];
    sum.x = fmaf(values[q][0] * inverse, w.x, sum.x) * scale;
    sum.y = fmaf(values[q][1] * inverse, w.y, sum.y) * scale;
    sum.z = fmaf(values[q][2] * inverse, w.z, sum.z) * scale;
    sum.w = fmaf(values[q][3] * inverse, w.w, sum.w) * scale;
    *reinterpret_cast<float4*>(x + row + i) = sum;
  }
}

// --- activations ------------------------------------------------------------------------------------------

/// A block a row.
__global__ void gelu_mul_bf16_kernel(const void* gate_up, int64_t width, void* m) {
  const int64_t row = blockIdx.x;
  for (int64_t i = int64_t{threadIdx.x} * 8; i < width; i += int64_t{blockDim.x} * 8) {
    const Packed<4> gate = packed_at<4>(gate_up, row * 2 * width + i);
    const Packed<4> up = packed_at<4>(gate_up, row * 2 * width + width + i);
    float product[8];
#pragma unroll
    for (int j = 0; j < 8; ++j) product[j] = gelu_fast(gate[j]) * up[j];
    store_packed<4>(product, m, row * width + i);
  }
}

/// A thread four values.
__global__ void gelu_mul_inputs_kernel(void* gate, const float* inputs, int64_t quads, int64_t width,
                                       int64_t stride) {
  const int64_t n = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (n >= quads) return;
  const int64_t i = 4 * n;
  const Packed<2> g = packed_at<2>(gate, i);
  const float4 in = *reinterpret_cast<const float4*>(inputs + i / width * stride + i % width);
  const float product[4] = {gelu_fast(g[0]) * in.x, gelu_fast(g[1]) * in.y, gelu_fast(g[2]) * in.z,
                            gelu_fast(g[3]) * in.w};
  store_packed<2>(product, gate, i);
}

// --- heads ------------------------------------------------------------------------------------------------

struct HeadNorms {
  const float* q = nullptr;  // [head_dim]
  const float* k = nullptr;  // [head_dim]
  bool v = true;
  float eps = 0;
};

/// A block a row, a warp a head. A lane holds kDim / 64 neighbouring values of each half of a head, which
/// rope turns together.
template <int kDim>
__global__ void norm_rope_store_kernel(QkvProducts in, Rows rows, HeadNorms norms, const float* inv_freq,
                                       KvView kv, void* q_out) {
  constexpr int kHalf = kDim / 2;
  constexpr int kValues = kHalf / kWarp;  // of each half
  __shared__ float2 turns[kHalf];         // sine and cosine
  const int64_t row = blockIdx.x;
  const int32_t position = rows.positions[row];
  for (int i = static_cast<int>(threadIdx.x); i < kHalf; i += static_cast<int>(blockDim.x))
    // The angle is rounded to f32 before the cosine, as the checkpoints were trained with.
    sincosf(static_cast<float>(position) * inv_freq[i], &turns[i].x, &turns[i].y);
  __syncthreads();

  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int stored_heads = in.q_heads + in.kv_heads * (in.has_v ? 2 : 1);
  const int heads = in.q_heads + 2 * in.kv_heads;
  int64_t slot = 0;  // of the row's first key/value head
  if (in.kv_heads > 0) slot = token_slot(kv, rows.sequences[row], position) * kv.kv_heads;
  for (int head = static_cast<int>(threadIdx.x) / kWarp; head < heads;
       head += static_cast<int>(blockDim.x) / kWarp) {
    const bool is_q = head < in.q_heads;
    const bool is_v = head >= in.q_heads + in.kv_heads;
    const int source = is_v && !in.has_v ? head - in.kv_heads : head;
    const int64_t from = (row * stored_heads + source) * kDim + lane * kValues;
    const auto low = packed_at<kValues / 2>(in.values, from);
    const auto high = packed_at<kValues / 2>(in.values, from + kHalf);
    float a[kValues];
    float b[kValues];
    float squares = 0;
#pragma unroll
    for (int i = 0; i < kValues; ++i) {
      a[i] = low[i];
      b[i] = high[i];
      squares += a[i] * a[i] + b[i] * b[i];
    }
    if (!is_v || norms.v) {
      const float inverse = rsqrtf(warp_sum(squares) / static_cast<float>(kDim) + norms.eps);
      const float* weight = is_v ? nullptr : is_q ? norms.q : norms.k;
#pragma unroll
      for (int i = 0; i < kValues; ++i) {
        const int at = lane * kValues + i;
        a[i] *= inverse * (weight != nullptr ? weight[at] : 1.0F);
        b[i] *= inverse * (weight != nullptr ? weight[at + kHalf] : 1.0F);
      }
    }
    if (!is_v) {
#pragma unroll
      for (int i = 0; i < kValues; ++i) {
        const float2 turn = turns[lane * kValues + i];
        const float turned = a[i] * turn.y - b[i] * turn.x;
        b[i] = b[i] * turn.y + a[i] * turn.x;
        a[i] = turned;
      }
    }
    void* to = is_q ? q_out : is_v ? static_cast<void*>(kv.v) : static_cast<void*>(kv.k);
    const int64_t index =
        is_q ? row * in.q_heads + head : slot + head - in.q_heads - (is_v ? in.kv_heads : 0);
    store_packed<kValues / 2>(a, to, index * kDim + lane * kValues);
    store_packed<kValues / 2>(b, to, index * kDim + lane * kValues + kHalf);
  }
}

// --- per-layer inputs -------------------------------------------------------------------------------------

/// Eight values from [row, col] on, col a multiple of 8, in one load of the codes: a table on the host is
/// read over the bus.
__device__ inline void load_eight(const DeviceMatrix& m, int64_t row, int64_t col, float (&c)[8]) {
  const int64_t at = row * m.cols + col;
  const auto* bytes = static_cast<const uint8_t*>(m.codes);
  switch (m.codes_kind) {
    case Codes::kF32: {
      const auto* quads = reinterpret_cast<const float4*>(bytes + 4 * at);
      const float4 low = quads[0];
      const float4 high = quads[1];
      c[0] = low.x, c[1] = low.y, c[2] = low.z, c[3] = low.w;
      c[4] = high.x, c[5] = high.y, c[6] = high.z, c[7] = high.w;
      return;
    }
    case Codes::kF16: {
      const uint4 words = *reinterpret_cast<const uint4*>(bytes + 2 * at);
      const uint32_t pairs[4] = {words.x, words.y, words.z, words.w};
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float2 pair = __half22float2(*reinterpret_cast<const __half2*>(&pairs[i]));
        c[2 * i] = pair.x;
        c[2 * i + 1] = pair.y;
      }
      return;
    }
    case Codes::kBF16: {
      const Packed<4> packed = packed_at<4>(m.codes, at);
#pragma unroll
      for (int i = 0; i < 8; ++i) c[i] = packed[i];
      return;
    }
    case Codes::kQ4: {
      const uint32_t codes = *reinterpret_cast<const uint32_t*>(bytes + at / 2);
#pragma unroll
      for (int i = 0; i < 8; ++i) c[i] = static_cast<float>((codes >> (4 * i)) & 15U);
      break;
    }
    case Codes::kQ8: {
      const uint2 codes = *reinterpret_cast<const uint2*>(bytes + at);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        c[i] = static_cast<float>((codes.x >> (8 * i)) & 255U);
        c[4 + i] = static_cast<float>((codes.y >> (8 * i)) & 255U);
      }
      break;
    }
  }
  const int64_t group = row * (m.cols / m.group) + col / m.group;
  const Pair pair = m.pairs_kind == Pairs::kF16    ? pair_at<Pairs::kF16>(m.pairs, group)
                    : m.pairs_kind == Pairs::kBF16 ? pair_at<Pairs::kBF16>(m.pairs, group)
                                                   : pair_at<Pairs::kF32>(m.pairs, group);
#pragma unroll
  for (int i = 0; i < 8; ++i) c[i] = fmaf(pair.scale, c[i], pair.bias);
}

/// A warp a row and layer.
__global__ void per_layer_inputs_kernel(const void* projected, const int32_t* tokens, int64_t row_layers,
                                        int layers, DeviceMatrix table, Backend::PerLayerInputs args,
                                        float* out) {
  const int64_t n = (int64_t{blockIdx.x} * blockDim.x + threadIdx.x) / kWarp;
  if (n >= row_layers) return;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int64_t row = n / layers;
  const int64_t layer = n % layers;
  const int width = args.ple_dim;
  const int64_t from = n * width;
  float squares = 0;
  for (int i = 8 * lane; i < width; i += 8 * kWarp) {
    const Packed<4> p = packed_at<4>(projected, from + i);
#pragma unroll
    for (int j = 0; j < 8; ++j) squares += p[j] * p[j];
  }
  const float scale = args.projection_scale;
  const float mean = warp_sum(squares) * scale * scale / static_cast<float>(width);
  const float factor = rsqrtf(mean + args.eps) * scale;
  for (int i = 8 * lane; i < width; i += 8 * kWarp) {
    float embedded[8];
    load_eight(table, tokens[row], layer * width + i, embedded);
    const Packed<4> p = packed_at<4>(projected, from + i);
    float sum[8];
#pragma unroll
    for (int j = 0; j < 8; ++j)
      sum[j] = fmaf(p[j] * factor, args.norm[i + j], embedded[j] * args.embed_scale) * args.combination_scale;
    auto* to = reinterpret_cast<float4*>(out + from + i);
    to[0] = {sum[0], sum[1], sum[2], sum[3]};
    to[1] = {sum[4], sum[5], sum[6], sum[7]};
  }
}

unsigned blocks_for(int64_t threads) {
  return static_cast<unsigned>((threads + kMostThreads - 1) / kMostThreads);
}

}  // namespace

void narrow(const float* x, int64_t count, void* out, cudaStream_t stream) {
  narrow_kernel<<<blocks_for(count / 4), kMostThreads, 0, stream>>>(x, count / 4, out);
}

void rms_norm_bf16(const float* x, int rows, int64_t width, const float* weight, float eps, void* out,
                   cudaStream_t stream) {
  for_width(width, [&]<int kQuads>(unsigned threads) {
    rms_norm_bf16_kernel<kQuads>
        <<<static_cast<unsigned>(rows), threads, 0, stream>>>(x, width, weight, eps, out);
  });
}

void add_rms_norm(const void* y, int rows, int64_t width, const float* weight, float eps, float scale,
                  float* x, cudaStream_t stream) {
  for_width(width, [&]<int kQuads>(unsigned threads) {
    add_rms_norm_kernel<kQuads>
        <<<static_cast<unsigned>(rows), threads, 0, stream>>>(y, width, weight, eps, scale, x);
  });
}

void gelu_mul_bf16(const void* gate_up, int rows, int64_t width, void* m, cudaStream_t stream) {
  gelu_mul_bf16_kernel<<<static_cast<unsigned>(rows), kMostThreads, 0, stream>>>(gate_up, width, m);
}

void gelu_mul_inputs_bf16(void* gate, const float* inputs, int rows, int64_t width, int64_t stride,
                          cudaStream_t stream) {
  const int64_t quads = rows * width / 4;
  gelu_mul_inputs_kernel<<<blocks_for(quads), kMostThreads, 0, stream>>>(gate, inputs, quads, width, stride);
}

void norm_rope_store(const QkvProducts& products, const Rows& rows, const QkvArgs& args, void* q_out,
                     cudaStream_t stream) {
  const int heads = products.q_heads + 2 * products.kv_heads;
  const auto threads = static_cast<unsigned>(kWarp * std::clamp(heads, 4, kMostHeadWarps));
  const HeadNorms norms{args.q_norm, args.k_norm, args.v_norm, args.eps};
  const auto blocks = static_cast<unsigned>(rows.count);
  if (args.shape.head_dim == 256)
    norm_rope_store_kernel<256>
        <<<blocks, threads, 0, stream>>>(products, rows, norms, args.shape.inv_freq, args.kv, q_out);
  else
    norm_rope_store_kernel<512>
        <<<blocks, threads, 0, stream>>>(products, rows, norms, args.shape.inv_freq, args.kv, q_out);
}

void per_layer_inputs_bf16(const void* projected, const Rows& rows, int layers, const DeviceMatrix& table,
                           const Backend::PerLayerInputs& args, float* out, cudaStream_t stream) {
  const int64_t row_layers = int64_t{rows.count} * layers;
  per_layer_inputs_kernel<<<blocks_for(row_layers * kWarp), kMostThreads, 0, stream>>>(
      projected, rows.tokens, row_layers, layers, table, args, out);
}

}  // namespace facet::cuda
