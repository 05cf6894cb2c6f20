// Norms, rope and everything that touches each value once.
#include <algorithm>

#include "backend/cuda/elements.cuh"
#include "backend/cuda/kernels.h"

namespace facet::cuda {
namespace {

constexpr int kThreads = 256;

unsigned blocks_for(int64_t n) {
  return static_cast<unsigned>(std::min<int64_t>((n + kThreads - 1) / kThreads, 1 << 16));
}

/// Threads for a block that owns a row of `width`: whole warps.
unsigned threads_for(int64_t width) {
  return static_cast<unsigned>(std::clamp<int64_t>((width + kWarp - 1) / kWarp * kWarp, kWarp, kThreads));
}

/// Calls f(i) for every i < n, over the whole grid.
template <class F>
__global__ void for_each(int64_t n, F f) {
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < n;
       i += int64_t{gridDim.x} * blockDim.x)
    f(i);
}

template <class F>
void each(int64_t n, F f, cudaStream_t stream) {
  if (n > 0) for_each<<<blocks_for(n), kThreads, 0, stream>>>(n, f);
}

/// A block a row.
__global__ void rms_norm_kernel(const float* x, int64_t width, const float* weight, float eps, float* out) {
  __shared__ float shared[kWarp];
  const float* in = x + int64_t{blockIdx.x} * width;
  float* to = out + int64_t{blockIdx.x} * width;
  float squares = 0;
  for (int64_t i = threadIdx.x; i < width; i += blockDim.x) squares += in[i] * in[i];
  squares = block_reduce<false>(squares, shared);
  const float inverse = 1.0F / sqrtf(squares / static_cast<float>(width) + eps);
  for (int64_t i = threadIdx.x; i < width; i += blockDim.x)
    to[i] = in[i] * inverse * (weight != nullptr ? weight[i] : 1.0F);
}

/// A block a row.
__global__ void softmax_kernel(float* x, int64_t width) {
  __shared__ float shared[kWarp];
  float* row = x + int64_t{blockIdx.x} * width;
  float top = -INFINITY;
  for (int64_t i = threadIdx.x; i < width; i += blockDim.x) top = fmaxf(top, row[i]);
  top = block_reduce<true>(top, shared);
  float sum = 0;
  for (int64_t i = threadIdx.x; i < width; i += blockDim.x) sum += row[i] = expf(row[i] - top);
  sum = block_reduce<false>(sum, shared);
  for (int64_t i = threadIdx.x; i < width; i += blockDim.x) row[i] /= sum;
}

}  // namespace

void gather_rows(const float* x, const int32_t* indices, int rows, int64_t width, float* out,
                 cudaStream_t stream) {
  each(
      rows * width, [=] __device__(int64_t i) { out[i] = x[indices[i / width] * width + i % width]; },
      stream);
}

void rms_norm(const float* x, int64_t rows, int64_t width, const float* weight, float eps, float* out,
              cudaStream_t stream) {
  if (rows > 0)
    rms_norm_kernel<<<static_cast<unsigned>(rows), threads_for(width), 0, stream>>>(x, width, weight, eps,
                                                                                    out);
}

void rope(float* x, const Rows& rows, int heads, const AttentionShape& shape, cudaStream_t stream) {
  const int64_t half = shape.head_dim / 2;
  const int32_t* positions = rows.positions;
  const float* inv_freq = shape.inv_freq;
  const auto rotate = [=] __device__(int64_t n) {
    const int64_t i = n % half;
    const int64_t head = n / half;
    // The angle is rounded to f32 before the cosine, as the checkpoints were trained with.
    const float angle = static_cast<float>(positions[head / heads]) * inv_freq[i];
    float s = 0;
    float c = 0;
    sincosf(angle, &s, &c);
    float* at = x + head * 2 * half + i;
    const float a = at[0];
    const float b = at[half];
    at[0] = a * c - b * s;
    at[half] = b * c + a * s;
  };
  each(rows.count * heads * half, rotate, stream);
}

void gelu_mul(float* gate, const float* up, int64_t rows, int64_t width, int64_t up_stride,
              cudaStream_t stream) {
  each(
      rows * width,
      [=] __device__(int64_t i) { gate[i] = gelu_tanh(gate[i]) * up[i / width * up_stride + i % width]; },
      stream);
}

void add_scale(float* x, const float* y, float scale, int64_t n, cudaStream_t stream) {
  each(
      n, [=] __device__(int64_t i) { x[i] = (x[i] + y[i]) * scale; }, stream);
}

void scale(float* x, float factor, int64_t n, cudaStream_t stream) {
  each(
      n, [=] __device__(int64_t i) { x[i] *= factor; }, stream);
}

void scale_columns(float* x, const float* weight, int64_t rows, int64_t width, cudaStream_t stream) {
  each(
      rows * width, [=] __device__(int64_t i) { x[i] *= weight[i % width]; }, stream);
}

void softmax(float* x, int64_t rows, int64_t width, cudaStream_t stream) {
  if (rows > 0) softmax_kernel<<<static_cast<unsigned>(rows), threads_for(width), 0, stream>>>(x, width);
}

void softcap(float* x, float cap, int64_t n, cudaStream_t stream) {
  each(
      n, [=] __device__(int64_t i) { x[i] = cap * tanhf(x[i] / cap); }, stream);
}

}  // namespace facet::cuda
