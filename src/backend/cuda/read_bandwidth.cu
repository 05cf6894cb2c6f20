#include "backend/cuda/read_bandwidth.h"

#include <algorithm>

#include "backend/cuda/device.h"

namespace facet::cuda {
namespace {

constexpr int kThreads = 512;
constexpr int kBlocks = 132 * 4;
constexpr int kAtOnce = 8;  // vectors of a thread on their way
constexpr int kPasses = 8;

/// Reads all of it; writes only if it is not cleared, so that the reads are not left out.
__global__ void __launch_bounds__(kThreads) read_kernel(uint4* memory, size_t count) {
  const size_t threads = size_t{gridDim.x} * kThreads;
  uint32_t sum = 0;
  for (size_t i = size_t{blockIdx.x} * kThreads + threadIdx.x; i < count; i += kAtOnce * threads) {
    uint4 v[kAtOnce];
#pragma unroll
    for (int j = 0; j < kAtOnce; ++j)
      v[j] = i + j * threads < count ? __ldcs(memory + i + j * threads) : uint4{};
#pragma unroll
    for (int j = 0; j < kAtOnce; ++j) sum |= v[j].x | v[j].y | v[j].z | v[j].w;
  }
  if (sum != 0) memory->x = sum;
}

}  // namespace

double read_bandwidth(std::byte* memory, cudaStream_t stream) {
  cudaEvent_t start = nullptr;
  cudaEvent_t end = nullptr;
  check(cudaEventCreate(&start), "creating an event");
  check(cudaEventCreate(&end), "creating an event");
  float best = 0;
  for (int pass = 0; pass < kPasses; ++pass) {
    (void)cudaEventRecord(start, stream);
    read_kernel<<<kBlocks, kThreads, 0, stream>>>(reinterpret_cast<uint4*>(memory),
                                                  kColdBytes / sizeof(uint4));
    (void)cudaEventRecord(end, stream);
    check(cudaStreamSynchronize(stream), "measuring the memory's speed");
    float ms = 0;
    (void)cudaEventElapsedTime(&ms, start, end);
    best = best == 0 ? ms : std::min(best, ms);
  }
  (void)cudaEventDestroy(start);
  (void)cudaEventDestroy(end);
  return static_cast<double>(kColdBytes) / 1e6 / static_cast<double>(best);
}

}  // namespace facet::cuda
