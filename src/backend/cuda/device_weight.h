// Weights in device memory, and tables that stay on the host where the GPU can read them.
#pragma once

#include <cuda_runtime_api.h>

#include "backend/backend.h"
#include "backend/cuda/device_matrix.h"
#include "backend/cuda/tile_matrix.h"

namespace facet::cuda {

/// Where a weight's codes lie. kHost: the mapping itself, pinned, which kernels read over the bus; what
/// cannot be read there (GGUF's blocks, a mapping that will not be pinned) goes to the device all the same.
enum class Residence : uint8_t { kDevice, kHost };

class DeviceWeight final : public Weight {
 public:
  /// Takes `stored` in, exactly: affine and float encodings as they are, GGUF's blocks as groups or, for
  /// those that are none, as f32. Throws Error{kDevice} when memory is short.
  DeviceWeight(const MatrixView& stored, Residence residence, cudaStream_t stream);
  ~DeviceWeight() override;

  [[nodiscard]] const DeviceMatrix& matrix() const noexcept { return matrix_; }

  /// A second copy in tiles, for the decode kernels, where they take such a matrix.
  void make_tiles(cudaStream_t stream);
  /// No codes where there is none.
  [[nodiscard]] const TileMatrix& tiles() const noexcept { return tiles_; }

 private:
  void release() noexcept;

  DeviceMatrix matrix_;
  void* codes_ = nullptr;
  void* pairs_ = nullptr;
  void* pinned_ = nullptr;  // the mapping's pages
  TileMatrix tiles_;
  void* tile_codes_ = nullptr;
  void* tile_pairs_ = nullptr;
};

/// Of a weight that the CUDA backend loaded.
[[nodiscard]] inline const DeviceMatrix& matrix(const Weight& w) noexcept {
  return static_cast<const DeviceWeight&>(w).matrix();
}
[[nodiscard]] inline const TileMatrix& tiles(const Weight& w) noexcept {
  return static_cast<const DeviceWeight&>(w).tiles();
}

}  // namespace facet::cuda
