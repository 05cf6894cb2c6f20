// The GPU that the CUDA backend would use, and what a model takes of it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "formats/checkpoint.h"

namespace facet {

struct EngineOptions;

struct Gpu {
  std::string name;
  std::string compute_capability;  ///< as 9.0
  size_t memory = 0;               ///< bytes
  size_t free_memory = 0;          ///< bytes, now
};

/// The first GPU that this process may see, or why there is none to use.
struct GpuSearch {
  std::optional<Gpu> gpu;
  bool present = false;  ///< there is one, usable or not
  std::string problem;   ///< empty with a GPU
};
[[nodiscard]] GpuSearch find_gpu();

/// GPU memory, in bytes, that a model takes with its cache and activations.
struct GpuMemoryNeed {
  int64_t weights = 0;
  int64_t cache = 0;
  int64_t working = 0;  ///< activations, scratch, and what the CUDA runtime keeps
  [[nodiscard]] int64_t total() const noexcept { return weights + cache + working; }
};

/// Plans an engine of these options on the usable GPU without taking its memory. Throws what Engine's
/// constructor throws for a broken checkpoint, and Error{kDevice} when the GPU cannot be opened.
[[nodiscard]] GpuMemoryNeed plan_gpu_memory(const Checkpoint& checkpoint, const EngineOptions& options);

}  // namespace facet
