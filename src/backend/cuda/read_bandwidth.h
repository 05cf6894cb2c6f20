// The bound of decoding: how fast this GPU reads its memory.
#pragma once

#include <cuda_runtime_api.h>

namespace facet::cuda {

/// 10⁹ bytes a second, the best of a few passes over a gigabyte, or over less, but still far more than the
/// caches hold, where no gigabyte is free. 0: not even that is. Throws Error{kDevice} when the device fails.
[[nodiscard]] double read_bandwidth(cudaStream_t stream);

}  // namespace facet::cuda
