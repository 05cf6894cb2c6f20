// The fused operations for steps of many rows: bf16 products by cuBLASLt on resident copies of the weights,
// flash attention, and one kernel between each two of them.
#pragma once

#include <cuda_runtime_api.h>

#include "backend/backend.h"
#include "backend/cuda/device.h"
#include "backend/cuda/device_weight.h"
#include "backend/cuda/flash_attention.h"
#include "backend/cuda/matrix_library.h"
#include "backend/cuda/weight_copies.h"

namespace facet::cuda {

/// Steps of at least so many rows are Prefill's: enough to fill the tiles of its products. Decode steps of
/// more sequences than the kernels of their own take are, too, whatever their number.
constexpr int kPrefillFrom = 65;

/// Memory that Prefill works in, each array for limits.rows rows and aligned to 16 bytes.
struct PrefillScratch {
  void* h = nullptr;     // [rows, hidden] f32: inputs of products, in bf16
  void* y = nullptr;     // [rows, hidden] f32: their outputs, in bf16
  void* wide = nullptr;  // [rows, wide_columns] bf16: gates and ups, or q, k and v, side by side
  int64_t wide_columns = 0;
  void* per_layer = nullptr;   // [rows, ple_width] f32
  void* converted = nullptr;   // [largest weight] bf16, for weights that have no resident copy
  int64_t most_converted = 0;  ///< elements of `converted`
};

/// Every operation returns false, having done nothing, where it does not serve the shapes; the caller then
/// has the composed default do it in f32. Between operations the arrays q_out, `out` of attend and m hold
/// bf16 when Prefill wrote them, and the operation that reads such an array here knows; nobody else may.
class Prefill {
 public:
  /// `library` may be null: nothing is served then.
  Prefill(cudaStream_t stream, MatrixLibrary* library, const Device& device)
      : stream_(stream),
        library_(library),
        shared_memory_(device.shared_memory_a_block),
        flash_attend_(device.hopper() ? flash_attend_hopper : flash_attend) {}

  /// The weights are loaded: forgets copies of earlier ones.
  void reserve(const Limits& limits, const PrefillScratch& scratch) noexcept;

  [[nodiscard]] bool qkv_rope_store(const float* x, const Rows& rows, const QkvArgs& args) noexcept;
  /// Serves q that qkv_rope_store has just written.
  [[nodiscard]] bool attend(const float* q, const Rows& rows, const AttentionShape& shape, const KvView& kv,
                            float* out) noexcept;
  [[nodiscard]] bool project_add(const float* a, int rows, const DeviceMatrix& w, const float* norm,
                                 float eps, float* x) noexcept;
  [[nodiscard]] bool geglu(const float* x, int rows, const float* norm, float eps, const DeviceMatrix& gate,
                           const DeviceMatrix& up, float* m) noexcept;
  [[nodiscard]] bool per_layer_embed(float* x, int rows, const PerLayerArgs& args) noexcept;
  [[nodiscard]] bool per_layer_inputs(const float* x0, const Rows& rows, int layers,
                                      const Backend::PerLayerInputs& args, float* out) noexcept;

  /// Whether decode steps of many sequences can go through here.
  [[nodiscard]] bool batches() const noexcept { return library_ != nullptr && serves_hidden(); }
  /// Whether `values` hold bf16 that an operation here left for the next one.
  [[nodiscard]] bool holds_bf16(const float* values) const noexcept {
    return values != nullptr && (values == queries_ || values == attended_ || values == activations_);
  }
  /// Other operations write those arrays from now on.
  void forget() noexcept { queries_ = attended_ = activations_ = nullptr; }
  /// A product failed that had been served: the step's results are worthless.
  [[nodiscard]] bool failed() const noexcept { return failed_; }

 private:
  [[nodiscard]] bool serves(const DeviceMatrix& w) const noexcept;
  [[nodiscard]] bool serves_hidden() const noexcept;
  /// y[r] = x[r] Wᵀ for the stacked weights, the first `out` of their rows. x, y: bf16.
  void multiply(const void* x, int rows, WeightStack weights, int64_t out, void* y) noexcept;

  cudaStream_t stream_;
  MatrixLibrary* library_;
  size_t shared_memory_;
  decltype(&flash_attend) flash_attend_;
  Limits limits_;
  PrefillScratch scratch_;
  WeightCopies copies_;
  // Arrays that hold bf16 now.
  const float* queries_ = nullptr;      // from qkv_rope_store to attend
  const float* attended_ = nullptr;     // from attend to project_add
  const float* activations_ = nullptr;  // from geglu to project_add
  bool failed_ = false;
};

}  // namespace facet::cuda
