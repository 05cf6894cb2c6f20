#include "backend/cuda/read_bandwidth.h"

#include <algorithm>

#include "backend/cuda/device.h"

namespace facet::cuda {
namespace {

constexpr int kThreads = 512;
constexpr int kBlocks = 132 * 4;
constexpr int kAtOnce = 8;  // vectors of a thread on their way
constexpr int kPasses = 8;
constexpr size_t kMostBytes = size_t{1} << 30;
constexpr size_t kLeastBytes = size_t{256} << 20;  // five times the largest cache that a GPU has

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

/// Device memory and a pair of events, given back whatever happens.
struct Meter {
  std::byte* memory = nullptr;
  size_t bytes = 0;
  cudaEvent_t start = nullptr;
  cudaEvent_t end = nullptr;

  Meter() {
    for (bytes = kMostBytes; bytes >= kLeastBytes; bytes /= 2) {
      memory = static_cast<std::byte*>(try_allocate(bytes));
      if (memory != nullptr) return;
    }
    bytes = 0;
  }
  ~Meter() {
    (void)cudaFree(memory);
    if (start != nullptr) (void)cudaEventDestroy(start);
    if (end != nullptr) (void)cudaEventDestroy(end);
  }
  Meter(const Meter&) = delete;
  Meter& operator=(const Meter&) = delete;
};

}  // namespace

double read_bandwidth(cudaStream_t stream) {
  Meter meter;
  if (meter.bytes == 0) return 0;
  check(cudaMemsetAsync(meter.memory, 0, meter.bytes, stream), "clearing memory");
  check(cudaEventCreate(&meter.start), "creating an event");
  check(cudaEventCreate(&meter.end), "creating an event");
  float best = 0;
  for (int pass = 0; pass < kPasses; ++pass) {
    (void)cudaEventRecord(meter.start, stream);
    read_kernel<<<kBlocks, kThreads, 0, stream>>>(reinterpret_cast<uint4*>(meter.memory),
                                                  meter.bytes / sizeof(uint4));
    (void)cudaEventRecord(meter.end, stream);
    check(cudaStreamSynchronize(stream), "measuring the memory's speed");
    float ms = 0;
    (void)cudaEventElapsedTime(&ms, meter.start, meter.end);
    best = best == 0 ? ms : std::min(best, ms);
  }
  return static_cast<double>(meter.bytes) / 1e6 / static_cast<double>(best);
}

}  // namespace facet::cuda
