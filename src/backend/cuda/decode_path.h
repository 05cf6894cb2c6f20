// The fused operations of a decode step on the GPU, and what they leave undone for each other.
//
// The interface's operations end where the math's do: `x += rms(y)`. A kernel per such end would cost a
// launch each, so a product here leaves its norm and sum to whichever kernel reads x next, and q's norm and
// rotation to the attention. Arrays of the interface whose values are elsewhere in that time (the residual
// stream, the attention's output, the MLP's middle) are known by their addresses; whoever else wants to read
// one asks settle() first.
#pragma once

#include <cuda_runtime_api.h>

#include <vector>

#include "backend/backend.h"
#include "backend/cuda/decode.h"
#include "backend/cuda/device.h"
#include "backend/cuda/device_weight.h"
#include "backend/cuda/persistent_path.h"

namespace facet::cuda {

class DecodePath {
 public:
  DecodePath(const Device& device, cudaStream_t stream)
      : device_(device), stream_(stream), persistent_(device, stream) {}

  /// Arranges a weight that products read; one that the kernels do not take turns the path off. Throws
  /// Error{kDevice} when memory is short.
  void take_in(DeviceWeight& weight);
  void reserve(Backend& backend, const Limits& limits);

  /// Whether steps of this shape go through here from end to end, so that they can be recorded.
  [[nodiscard]] bool takes(const StepShape& shape) const noexcept;
  /// Equal for steps whose launches are equal.
  [[nodiscard]] int64_t recording_key(const StepShape& shape) const noexcept;

  [[nodiscard]] int64_t persistent_steps() const noexcept { return persistent_.launches(); }

  // Each returns false, with nothing done, for what the kernels do not take.
  [[nodiscard]] bool qkv_rope_store(const float* x, const Rows& rows, const QkvArgs& args) noexcept;
  [[nodiscard]] bool attend(const float* q, const Rows& rows, const AttentionShape& shape,
                            float* out) noexcept;
  [[nodiscard]] bool geglu(const float* x, int rows, const float* norm, float eps, const Weight& gate,
                           const Weight& up, float* m) noexcept;
  [[nodiscard]] bool project_add(const float* a, int rows, const Weight& w, const float* norm, float eps,
                                 float* x) noexcept;
  [[nodiscard]] bool per_layer_embed(float* x, int rows, const PerLayerArgs& args) noexcept;
  [[nodiscard]] bool per_layer_inputs(const float* x0, const Rows& rows, int layers,
                                      const Backend::PerLayerInputs& args, float* out) noexcept;
  /// rms(x) · weight of a residual stream that is not settled.
  [[nodiscard]] bool rms_norm(const float* x, const float* weight, float eps, float* out) noexcept;
  [[nodiscard]] bool logits(const float* h, int rows, const Weight& head, float cap, float* out) noexcept;

  /// Puts the residual stream's values at `x`, if they are x's and elsewhere.
  void settle(const void* x) noexcept;
  /// Forgets what is elsewhere: the arrays are about to be written anew.
  void reset() noexcept;
  /// A step that takes() comes, and its kernels are issued; `recording`: not for the first time.
  void begin(const StepShape& shape, bool recording) noexcept {
    persistent_.begin(shape, recording_key(shape), recording);
  }

 private:
  [[nodiscard]] Residual take(const float* x, int rows, float eps) noexcept;
  void owe(float* x, const float* norm, float scale) noexcept;

  const Device& device_;
  cudaStream_t stream_;
  PersistentPath persistent_;  // first to see an operation
  bool weights_served_ = true;
  bool ready_ = false;  // weights, device and limits allow it
  Limits limits_;
  Buffer memory_;

  // The residual stream.
  const float* stream_of_ = nullptr;  // the interface's array, or null when nothing is elsewhere
  float* home_ = nullptr;             // where its values are: there or in spare_
  float* spare_ = nullptr;            // [rows, hidden]
  const float* due_norm_ = nullptr;   // with which y_ is still to be added; null: nothing is
  float due_scale_ = 1;
  float eps_ = 0;
  int rows_ = 0;
  float* y_[2] = {};                   // [rows, hidden] each; the product whose sum is due is in the first
  float *k_ = nullptr, *v_ = nullptr;  // [rows, kv_width]
  float* ple_ = nullptr;               // [rows, ple_width]

  QkvArgs projected_;  // whose q, k and v are as projected; q_out null: none
  Fragments attended_, m_, ple_m_;
  const float* attended_of_ = nullptr;
  const float* m_of_ = nullptr;
  float* partial_ = nullptr;
  int* arrived_ = nullptr;
};

}  // namespace facet::cuda
