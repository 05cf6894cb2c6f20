// Full-size models with random weights, made in memory: what a benchmark needs when there is no download.
#pragma once

#include <cstdint>
#include <string_view>

#include "formats/checkpoint.h"

namespace facet {

enum class SyntheticQuant : uint8_t {
  k4Bit,  ///< affine, group 64; the per-layer projections and the per-layer table at 8 bits, as quantisers do
  k8Bit,  ///< affine, group 64
  kBF16
};

/// A checkpoint with the architecture and sizes of "e2b" or "e4b". Every matrix is a different window on one
/// repeating pool of random numbers, so a backend that repacks holds as much as with real weights while the
/// source costs 80 MB however large its tables are. Weights have a deviation of about 0.025, norms are 1.
/// Throws Error{kUsage} for another name and Error{kDevice} when the pool cannot be made.
[[nodiscard]] Checkpoint make_synthetic(std::string_view name, SyntheticQuant quant);

}  // namespace facet
