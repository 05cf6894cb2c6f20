// bf16 copies of quantised weights, for products of so many rows that decoding them would cost more than
// reading twice or four times the bytes.
#pragma once

#include <cuda_runtime_api.h>

#include <array>
#include <map>
#include <span>

#include "backend/cuda/device_matrix.h"

namespace facet::cuda {

/// Weights whose products share their input, computed as one: their rows lie one below another.
constexpr int kMostStacked = 3;
using WeightStack = std::span<const DeviceMatrix* const>;

class WeightCopies {
 public:
  WeightCopies() = default;
  ~WeightCopies() { clear(); }
  WeightCopies(const WeightCopies&) = delete;
  WeightCopies& operator=(const WeightCopies&) = delete;

  /// Forgets every copy. A copy is found by its weights' addresses, so this belongs before new ones are used.
  void clear() noexcept;

  /// [Σ rows, cols] bf16 of up to kMostStacked weights with the same columns, a multiple of 16: made on
  /// `stream` at first use and kept, while a gigabyte of device memory stays free after it. Null otherwise.
  [[nodiscard]] const void* find(WeightStack weights, cudaStream_t stream) noexcept;

 private:
  std::map<std::array<const void*, kMostStacked>, void*> copies_;
};

}  // namespace facet::cuda
