// What the CUDA runtime says of this machine, and its errors as facet::Error.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

namespace facet::cuda {

/// Throws Error{kDevice} naming `what` when `status` is a failure.
void check(cudaError_t status, const char* what);

/// What the runtime takes of the device's memory for an allocation of `bytes`.
[[nodiscard]] int64_t allocation_bytes(int64_t bytes) noexcept;

/// Device memory, not cleared; free it with cudaFree. Throws Error{kDevice} when there is not enough.
[[nodiscard]] void* allocate(size_t bytes);

/// The same, or null.
[[nodiscard]] void* try_allocate(size_t bytes) noexcept;

/// Host memory that the device copies to at full speed, and reads. Throws Error{kDevice} when there is not
/// enough.
[[nodiscard]] void* allocate_pinned(size_t bytes);
struct FreePinned {
  void operator()(void* memory) const noexcept;
};

struct Device {
  std::string name;
  int major = 0, minor = 0;  ///< compute capability
  int multiprocessors = 0;
  size_t memory = 0;                 ///< bytes
  size_t free_memory = 0;            ///< bytes, now
  size_t shared_memory_a_block = 0;  ///< bytes, the most that a kernel may ask for

  /// Clusters, and kernels that start before their predecessor ends.
  [[nodiscard]] bool launches_dependent() const noexcept { return major >= 9; }
  /// Compute capability 9.0: what is compiled for sm_90a runs on it and on nothing else.
  [[nodiscard]] bool hopper() const noexcept { return major == 9 && minor == 0; }
};

/// The first device that this process may see (CUDA_VISIBLE_DEVICES), or why there is none to use.
struct DeviceSearch {
  std::optional<Device> device;
  bool present = false;  ///< there are a driver and a device, usable or not
  std::string problem;   ///< empty with a device
};
[[nodiscard]] DeviceSearch find_device();

/// The same. Throws Error{kDevice} with the reason where there is none to use.
[[nodiscard]] Device open_device();

}  // namespace facet::cuda
