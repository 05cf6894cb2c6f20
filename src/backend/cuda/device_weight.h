// Weights in device memory, and tables that stay on the host where the GPU can read them.
#pragma once

#include <cuda_runtime_api.h>

#include <memory>

#include "backend/backend.h"
#include "backend/cuda/device.h"
#include "backend/cuda/device_matrix.h"
#include "backend/cuda/tile_matrix.h"

namespace facet::cuda {

class DeviceWeight final : public Weight {
 public:
  /// What `stored` would be on the device: its shapes and device_bytes(), no memory. kHost is for its codes
  /// alone.
  DeviceWeight(const MatrixView& stored, Residence residence);
  ~DeviceWeight() override;

  /// Takes `stored`, which the constructor saw, in: exactly, affine and float encodings as they are, GGUF's
  /// blocks as groups or, for those that are none, as f32. Codes on the host are the mapping itself, pinned,
  /// or a pinned copy where they need conversion or the mapping cannot be pinned. Throws Error{kDevice} when
  /// memory is short.
  void fill(const MatrixView& stored, cudaStream_t stream);

  [[nodiscard]] const DeviceMatrix& matrix() const noexcept { return matrix_; }

  /// Gives it a second form in tiles, for the decode kernels, where they take such a matrix; with memory if
  /// the weight has been filled.
  void make_tiles(cudaStream_t stream);
  /// No columns where there is none.
  [[nodiscard]] const TileMatrix& tiles() const noexcept { return tiles_; }

  /// Device memory that it takes, or would take.
  [[nodiscard]] int64_t device_bytes() const noexcept;

 private:
  void take_codes(const MatrixView& stored, cudaStream_t stream);
  [[nodiscard]] int64_t all_code_bytes() const noexcept {
    return matrix_.rows * matrix_.code_bytes(matrix_.cols);
  }
  [[nodiscard]] int64_t all_pair_bytes() const noexcept {
    return matrix_.rows * matrix_.groups() * matrix_.pair_bytes();
  }

  DeviceMatrix matrix_;
  Residence residence_;
  TileMatrix tiles_;
  // Device memory.
  void* codes_ = nullptr;
  void* pairs_ = nullptr;
  void* tile_codes_ = nullptr;
  void* tile_pairs_ = nullptr;
  // The host's.
  void* pinned_ = nullptr;  // the mapping's pages
  std::unique_ptr<void, FreePinned> host_codes_;
};

/// Of a weight that the CUDA backend loaded.
[[nodiscard]] inline const DeviceMatrix& matrix(const Weight& w) noexcept {
  return static_cast<const DeviceWeight&>(w).matrix();
}
[[nodiscard]] inline const TileMatrix& tiles(const Weight& w) noexcept {
  return static_cast<const DeviceWeight&>(w).tiles();
}

}  // namespace facet::cuda
