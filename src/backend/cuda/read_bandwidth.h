// The bound of decoding: how fast this GPU reads its memory.
#pragma once

#include <cuda_runtime_api.h>

namespace facet::cuda {

/// 10⁹ bytes a second, the best of a few passes over memory far larger than the caches. Throws Error{kDevice}
/// when there is no room for it.
[[nodiscard]] double read_bandwidth(cudaStream_t stream);

}  // namespace facet::cuda
