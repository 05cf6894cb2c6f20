#include "engine/gpu.h"

#include <fmt/format.h>

#include "base/error.h"
#ifdef FACET_CUDA
#include "backend/cuda/device.h"
#endif

namespace facet {

Gpu find_gpu() {
#ifdef FACET_CUDA
  cuda::Device device = cuda::open_device();
  return {std::move(device.name), fmt::format("{}.{}", device.major, device.minor), device.memory,
          device.free_memory};
#else
  throw Error(ErrorCode::kDevice, "this build has no CUDA backend: `make cuda` makes one that has it");
#endif
}

}  // namespace facet
