// Which decode steps run as one kernel (persistent_step.h), and its arguments.
//
// The forward pass speaks in operations. The first time a step of a kind comes, they run as kernels of their
// own, and are noted; if they were what the kernel computes, then from the next time on they are left out,
// and the kernel is launched at the last of them. It is recorded as part of a graph, so that is once.
#pragma once

#include <cuda_runtime_api.h>

#include <map>

#include "backend/backend.h"
#include "backend/cuda/device.h"
#include "backend/cuda/persistent_step.h"

namespace facet::cuda {

class PersistentPath {
 public:
  PersistentPath(const Device& device, cudaStream_t stream) : device_(device), stream_(stream) {}

  /// Forgets all steps. Throws Error{kDevice} when memory is short.
  void reserve(Backend& backend, const Limits& limits);

  /// The next operations are a step's that has this key. `recording`: the second such step, or a later one.
  void begin(int64_t key, bool recording) noexcept;
  /// The next operations are none of a step's that could be noted.
  void end() noexcept;

  // Each returns whether the operation is to be left out.
  [[nodiscard]] bool qkv_rope_store(const float* x, const Rows& rows, const QkvArgs& args) noexcept;
  [[nodiscard]] bool attend() noexcept;
  [[nodiscard]] bool geglu(const float* norm, const Weight& gate, const Weight& up) noexcept;
  [[nodiscard]] bool project_add(const Weight& w, const float* norm) noexcept;
  [[nodiscard]] bool per_layer_embed(const PerLayerArgs& args) noexcept;
  [[nodiscard]] bool rms_norm(const float* x, const float* weight, float* out) noexcept;

  [[nodiscard]] int64_t launches() const noexcept { return launches_; }

 private:
  enum class Mode : uint8_t { kOff, kNote, kReplace };
  enum class Next : uint8_t { kQkv, kAttend, kOut, kGeglu, kDown, kPerLayer };

  /// Whether `which` is the operation that comes next; if not, the step is none for the kernel.
  [[nodiscard]] bool expects(Next which) noexcept;
  void require(bool condition) noexcept;
  void take(LayerMatrix which, const Weight& w, int64_t rows, int64_t cols) noexcept;
  [[nodiscard]] PersistentLayer& layer() noexcept { return step_->layers[step_->layer_count]; }

  const Device& device_;
  cudaStream_t stream_;
  bool ready_ = false;
  Buffer memory_;
  TaggedPair* exchange_ = nullptr;
  uint32_t* exchanges_done_ = nullptr;

  std::map<int64_t, PersistentStep> steps_;  // by key; rows of 0: none for the kernel
  Mode mode_ = Mode::kOff;
  PersistentStep* step_ = nullptr;
  Next next_ = Next::kQkv;
  bool fits_ = false;  // so far
  int64_t launches_ = 0;
  const std::byte* owner_[2] = {};  // by kind: the keys of the last layer that has its own
};

}  // namespace facet::cuda
