#include "backend/cuda/device.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/error.h"

namespace facet::cuda {
namespace {

constexpr int kOldestMajor = 8;  // the kernels are compiled for 8.0 and 9.0a

/// Throws Error{kDevice} when it is too old or cannot be started.
Device describe_first_device() {
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

}  // namespace

void check(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  (void)cudaGetLastError();  // reported here, not once more by whoever asks next
  throw Error(ErrorCode::kDevice, fmt::format("cuda: {}: {}", what, cudaGetErrorString(status)));
}

int64_t allocation_bytes(int64_t bytes) noexcept {
  // Large allocations are whole pages of 2 MiB; small ones share them.
  constexpr int64_t kLarge = int64_t{1} << 20;
  constexpr int64_t kPage = int64_t{2} << 20;
  constexpr int64_t kPiece = 512;
  const int64_t unit = bytes > kLarge ? kPage : kPiece;
  return (std::max<int64_t>(bytes, 1) + unit - 1) / unit * unit;
}

void* try_allocate(size_t bytes) noexcept {
  void* memory = nullptr;
  if (cudaMalloc(&memory, std::max<size_t>(bytes, 1)) == cudaSuccess) return memory;
  (void)cudaGetLastError();
  return nullptr;
}

void* allocate(size_t bytes) {
  void* const memory = try_allocate(bytes);
  if (memory == nullptr) {
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

DeviceSearch find_device() {
  int count = 0;
  int driver = 0;  // stays 0 where none is installed
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (cudaDriverGetVersion(&driver) != cudaSuccess || driver == 0)
    return {{}, false, "cuda: no NVIDIA driver on this machine"};
  if (status == cudaErrorNoDevice || (status == cudaSuccess && count == 0))
    return {{}, false, "cuda: no NVIDIA GPU that this process may see"};
  try {
    if (status == cudaErrorInsufficientDriver)
      throw Error(
          ErrorCode::kDevice,
          fmt::format("cuda: the NVIDIA driver is for CUDA {}.{}, this build needs one for {}.{}",
                      driver / 1000, driver % 1000 / 10, CUDART_VERSION / 1000, CUDART_VERSION % 1000 / 10));
    check(status, "looking for a GPU");
    return {describe_first_device(), true, ""};
  } catch (const Error& error) {
    (void)cudaGetLastError();
    return {{}, true, error.what()};
  }
}

Device open_device() {
  DeviceSearch search = find_device();
  if (!search.device) throw Error(ErrorCode::kDevice, search.problem);
  return *std::move(search.device);
}

}  // namespace facet::cuda
