// Steps recorded as CUDA graphs, so that one launch replays all of a step's kernels.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <map>

namespace facet::cuda {

/// A step's kernels and their arguments depend on nothing but its key: what changes from step to step lies in
/// device memory.
class StepGraphs {
 public:
  explicit StepGraphs(cudaStream_t stream) : stream_(stream) {}
  ~StepGraphs() { clear(); }
  StepGraphs(const StepGraphs&) = delete;
  StepGraphs& operator=(const StepGraphs&) = delete;

  /// Forgets all steps.
  void clear() noexcept;
  /// True: the step was recorded, and is launched. False: its kernels must be issued, and end() called. The
  /// first time they run as they are issued (which loads them), the second they are recorded.
  [[nodiscard]] bool replay(int64_t key) noexcept;
  void end() noexcept;
  [[nodiscard]] bool recording() const noexcept { return recording_ != nullptr; }

 private:
  struct Entry {
    int seen = 0;
    cudaGraphExec_t graph = nullptr;
  };

  cudaStream_t stream_;
  std::map<int64_t, Entry> entries_;
  Entry* recording_ = nullptr;
};

}  // namespace facet::cuda
