// How much device memory a model takes, found before any of it is asked for.
#pragma once

#include "backend/cuda/cuda_backend.h"

namespace facet {

/// A CUDA backend that gives out addresses with no memory behind them and counts. Whatever is built on it by
/// the same calls as on a CudaBackend is planned to the byte; nothing can be computed on it.
class CudaMemoryPlan final : public CudaBackend {
 public:
  using CudaBackend::CudaBackend;

  [[nodiscard]] int64_t weight_bytes() const noexcept { return weight_bytes_; }
  /// Of everything else: caches, activations, tables of pages.
  [[nodiscard]] int64_t allocated_bytes() const noexcept { return allocated_bytes_; }

  [[nodiscard]] Buffer allocate(size_t bytes) override;
  void upload(void* /*to*/, const void* /*host*/, size_t /*bytes*/) override {}
  void download(void* /*host*/, const void* /*from*/, size_t /*bytes*/) override {}
  void copy(void* /*to*/, const void* /*from*/, size_t /*bytes*/) override {}
  [[nodiscard]] std::unique_ptr<Weight> load(const MatrixView& stored, WeightUse use) override;
  [[nodiscard]] bool copies_weights() const noexcept override { return false; }

 protected:
  void fill(cuda::DeviceWeight& /*weight*/, const MatrixView& /*stored*/) override {}

 private:
  int64_t weight_bytes_ = 0;
  int64_t allocated_bytes_ = 0;
};

}  // namespace facet
