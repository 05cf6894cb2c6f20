#include "backend/cuda/memory_plan.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>

#include "base/error.h"

namespace facet {

Buffer CudaMemoryPlan::allocate(size_t bytes) {
  const size_t length = std::max<size_t>(bytes, 1);
  void* const addresses =
      ::mmap(nullptr, length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (addresses == MAP_FAILED)
    throw Error(ErrorCode::kDevice, fmt::format("cuda: cannot plan for {} MiB of memory", bytes >> 20));
  allocated_bytes_ += cuda::allocation_bytes(static_cast<int64_t>(bytes));
  return {static_cast<std::byte*>(addresses), [length](std::byte* p) { (void)::munmap(p, length); }};
}

std::unique_ptr<Weight> CudaMemoryPlan::load(const MatrixView& stored, WeightUse use) {
  auto weight = CudaBackend::load(stored, use);
  weight_bytes_ += static_cast<const cuda::DeviceWeight&>(*weight).device_bytes();
  return weight;
}

}  // namespace facet
