#include "backend/cuda/device.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"

namespace facet::cuda {
namespace {

constexpr int kOldestMajor = 8;  // the kernels are compiled for 8.0 and 9.0a

}  // namespace

void check(cudaError_t status, const char* what) {
  if (status != cudaSuccess)
    throw Error(ErrorCode::kDevice, fmt::format("cuda: {}: {}", what, cudaGetErrorString(status)));
}

void* allocate(size_t bytes) {
  void* memory = nullptr;
  if (cudaMalloc(&memory, std::max<size_t>(bytes, 1)) != cudaSuccess) {
    (void)cudaGetLastError();
    size_t free = 0;
    size_t total = 0;
    (void)cudaMemGetInfo(&free, &total);
    throw Error(ErrorCode::kDevice, fmt::format("cuda: not enough memory: {} MiB wanted, {} of {} MiB free",
                                                bytes >> 20, free >> 20, total >> 20));
  }
  return memory;
}

void* allocate_pinned(size_t bytes) {
  void* memory = nullptr;
  check(cudaMallocHost(&memory, std::max<size_t>(bytes, 1)), "pinning memory");
  return memory;
}

void FreePinned::operator()(void* memory) const noexcept {
  (void)cudaFreeHost(memory);
}

Device open_device() {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status == cudaErrorInsufficientDriver)
    throw Error(ErrorCode::kDevice, "cuda: no NVIDIA driver, or one older than this build's CUDA runtime");
  if (status == cudaErrorNoDevice || (status == cudaSuccess && count == 0))
    throw Error(ErrorCode::kDevice, "cuda: no NVIDIA GPU on this machine");
  check(status, "looking for a GPU");
  cudaDeviceProp properties{};
  check(cudaGetDeviceProperties(&properties, 0), "reading the GPU's properties");
  Device device{properties.name,
                properties.major,
                properties.minor,
                properties.multiProcessorCount,
                0,
                0,
                properties.sharedMemPerBlockOptin};
  if (device.major < kOldestMajor)
    throw Error(ErrorCode::kDevice,
                fmt::format("cuda: {} has compute capability {}.{}, 8.0 or later is needed", device.name,
                            device.major, device.minor));
  check(cudaMemGetInfo(&device.free_memory, &device.memory), "starting the GPU");
  return device;
}

}  // namespace facet::cuda
