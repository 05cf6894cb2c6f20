#include "engine/gpu.h"

#include <fmt/format.h>

#include <utility>

#include "base/error.h"
#include "engine/engine.h"
#ifdef FACET_CUDA
#include "backend/cuda/memory_plan.h"
#endif

namespace facet {

#ifdef FACET_CUDA

namespace {

// What is allocated out of sight: kernels' code, cuBLASLt's and its workspace, recorded steps.
constexpr int64_t kRuntimeBytes = int64_t{256} << 20;

}  // namespace

GpuSearch find_gpu() {
  cuda::DeviceSearch search = cuda::find_device();
  GpuSearch found{std::nullopt, search.present, std::move(search.problem)};
  if (auto& device = search.device)
    found.gpu = {std::move(device->name), fmt::format("{}.{}", device->major, device->minor), device->memory,
                 device->free_memory};
  return found;
}

GpuMemoryNeed plan_gpu_memory(const Checkpoint& checkpoint, const EngineOptions& options) {
  CudaMemoryPlan plan(options.per_layer_table);
  EngineOptions quiet = options;
  quiet.progress = nullptr;
  const EngineParts parts(checkpoint, plan, quiet);
  return {plan.weight_bytes(), parts.cache->bytes(),
          plan.allocated_bytes() - parts.cache->bytes() + kRuntimeBytes};
}

#else

GpuSearch find_gpu() {
  return {std::nullopt, false, "this build has no CUDA backend: `make cuda` makes one that has it"};
}

GpuMemoryNeed plan_gpu_memory(const Checkpoint& /*checkpoint*/, const EngineOptions& /*options*/) {
  throw Error(ErrorCode::kDevice, find_gpu().problem);
}

#endif

}  // namespace facet
