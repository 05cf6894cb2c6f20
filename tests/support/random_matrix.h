// Random weights in every stored encoding.
#pragma once

#include <cstdint>
#include <random>
#include <vector>

#include "tensor/matrix_view.h"

namespace facet::testing {

/// Owns a random matrix as a checkpoint would store it. Weights have a standard deviation of about
/// `deviation`.
class RandomMatrix {
 public:
  RandomMatrix(Encoding encoding, int64_t rows, int64_t cols, int group_size, DType scale_dtype,
               uint32_t seed, float deviation = 0.05F);
  [[nodiscard]] const MatrixView& view() const noexcept { return view_; }

 private:
  std::vector<std::byte> data_, scales_, biases_;
  MatrixView view_;
};

/// `count` normal values.
[[nodiscard]] std::vector<float> random_floats(int64_t count, uint32_t seed, float deviation = 1);

/// ‖a − b‖ / ‖b‖
[[nodiscard]] double relative_rms(const std::vector<float>& a, const std::vector<float>& b);

}  // namespace facet::testing
