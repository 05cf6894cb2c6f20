// cuBLASLt, loaded when it is first needed: the binary runs, more slowly, without it.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <memory>

namespace facet::cuda {

/// y = x Wᵀ with both operands in bf16 and f32 sums.
struct Product {
  const void* w = nullptr;              // [out, cols]
  const void* x = nullptr;              // [rows, cols]
  int64_t rows = 0, out = 0, cols = 0;  ///< cols a multiple of 8
  void* y = nullptr;                    // [rows, out], rows `y_stride` elements apart
  int64_t y_stride = 0;
  bool y_bf16 = false;  ///< with out and y_stride multiples of 8; otherwise f32
};

class MatrixLibrary {
 public:
  /// Null where the library is not installed.
  [[nodiscard]] static std::unique_ptr<MatrixLibrary> open();
  ~MatrixLibrary();
  MatrixLibrary(const MatrixLibrary&) = delete;
  MatrixLibrary& operator=(const MatrixLibrary&) = delete;

  /// False when the library has no kernel for the shape. Pointers are aligned to 16 bytes.
  [[nodiscard]] bool multiply(const Product& product, cudaStream_t stream) noexcept;

 private:
  struct State;
  explicit MatrixLibrary(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace facet::cuda
