// cuBLASLt, loaded when it is first needed: the binary runs, more slowly, without it.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <memory>

namespace facet::cuda {

class MatrixLibrary {
 public:
  /// Null where the library is not installed.
  [[nodiscard]] static std::unique_ptr<MatrixLibrary> open();
  ~MatrixLibrary();
  MatrixLibrary(const MatrixLibrary&) = delete;
  MatrixLibrary& operator=(const MatrixLibrary&) = delete;

  /// y = x Wᵀ. x: [rows, cols] bf16, w: [out, cols] bf16, y: [rows, out] f32, cols a multiple of 8. False
  /// when the library has no kernel for the shape.
  [[nodiscard]] bool multiply(const void* w, const void* x, int64_t rows, int64_t out, int64_t cols, float* y,
                              cudaStream_t stream) noexcept;

 private:
  struct State;
  explicit MatrixLibrary(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace facet::cuda
