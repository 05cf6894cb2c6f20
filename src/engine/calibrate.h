// What each matrix is multiplied with, over a text: which errors in it matter.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "formats/checkpoint.h"
#include "formats/mlx_writer.h"

namespace facet {

struct CalibrationOptions {
  std::vector<int32_t> prefix;                                ///< starts every window: <bos>
  int threads = 0;                                            ///< 0: one a usable core
  int context = 1024;                                         ///< tokens a window, at most the model's
  std::function<void(int64_t done, int64_t total)> progress;  ///< tokens
  const std::atomic<bool>* cancel = nullptr;
};

/// Matrices of more columns than this keep no second moments but the diagonal: n² floats each are too many.
inline constexpr int64_t kMaxMomentColumns = 2048;

/// Runs `ids` through `model` on the CPU and returns the second moments of what every matrix is multiplied
/// with. Memory: 4 · cols² bytes for each matrix of at most kMaxMomentColumns columns. Throws as Engine and
/// score_text do, Error{kBadInput} for a text without tokens.
[[nodiscard]] Calibration calibrate(Checkpoint model, std::span<const int32_t> ids,
                                    const CalibrationOptions& options);

}  // namespace facet
