#include "backend/cuda/device.h"

#include <fmt/format.h>

#include "base/error.h"

namespace facet::cuda {
namespace {

constexpr int kOldestMajor = 8;  // the kernels are compiled for 8.0 and 9.0a

}  // namespace

void check(cudaError_t status, const char* what) {
  if (status != cudaSuccess)
    throw Error(ErrorCode::kDevice, fmt::format("cuda: {}: {}", what, cudaGetErrorString(status)));
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
  Device device{properties.name, properties.major, properties.minor, properties.multiProcessorCount, 0, 0};
  if (device.major < kOldestMajor)
    throw Error(ErrorCode::kDevice,
                fmt::format("cuda: {} has compute capability {}.{}, 8.0 or later is needed", device.name,
                            device.major, device.minor));
  check(cudaMemGetInfo(&device.free_memory, &device.memory), "starting the GPU");
  return device;
}

}  // namespace facet::cuda
