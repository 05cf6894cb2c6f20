// The bound of decoding: how fast this GPU reads its memory.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>

namespace facet::cuda {

constexpr size_t kColdBytes = size_t{1} << 30;  ///< far larger than the caches

/// 10⁹ bytes a second, the best of a few passes over kColdBytes of cleared memory. Throws Error{kDevice}.
[[nodiscard]] double read_bandwidth(std::byte* memory, cudaStream_t stream);

}  // namespace facet::cuda
