// The GPU that the CUDA backend would use.
#pragma once

#include <cstddef>
#include <string>

namespace facet {

struct Gpu {
  std::string name;
  std::string compute_capability;  ///< as 9.0
  size_t memory = 0;               ///< bytes
  size_t free_memory = 0;          ///< bytes, now
};

/// The machine's first GPU. Throws Error{kDevice} with the reason where there is none, its driver is missing
/// or too old, or this build has no CUDA backend.
[[nodiscard]] Gpu find_gpu();

}  // namespace facet
