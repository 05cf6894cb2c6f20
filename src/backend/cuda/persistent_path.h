// Which decode steps run as one kernel (persistent_step.h), and its arguments.
//
// The forward pass speaks in operations. The first time a step of a kind comes, they run as kernels of their
// own, and are noted; if they were what the kernel computes, then from the next time on they are left out,
// and the kernel is launched at the last of them. It is recorded as part of a graph, so that is once.
//
// A step of long contexts runs in spans: full attention goes to a kernel that reads every key once for all
// heads, and the layers between two of those are a launch each.
#pragma once

#include <cuda_runtime_api.h>

#include <map>
#include <utility>
#include <vector>

#include "backend/backend.h"
#include "backend/cuda/decode.h"
#include "backend/cuda/device.h"
#include "backend/cuda/persistent_step.h"

namespace facet::cuda {

class PersistentPath {
 public:
  PersistentPath(const Device& device, cudaStream_t stream) : device_(device), stream_(stream) {}

  /// Memory for attention by a kernel of its own.
  struct AttentionScratch {
    float *k, *v;     ///< [rows, kv_width]
    float* attended;  ///< [rows, q_width]
    float* partial;   ///< as of DecodeAttention, like the next
    int* arrived;
  };

  /// Forgets all steps. Throws Error{kDevice} when memory is short.
  void reserve(Backend& backend, const Limits& limits, const AttentionScratch& scratch);

  /// The next operations are a step's that has this key. `recording`: the second such step, or a later one.
  void begin(const StepShape& shape, int64_t key, bool recording) noexcept;
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
  [[nodiscard]] PersistentStep& kernel() noexcept { return step_->kernel; }
  [[nodiscard]] PersistentLayer& layer() noexcept { return kernel().layers[kernel().layer_count]; }
  void note_attention(const Rows& rows, const QkvArgs& args);
  void launch() const noexcept;

  const Device& device_;
  cudaStream_t stream_;
  bool ready_ = false;
  Buffer memory_;
  ClusterExchange* exchange_ = nullptr;

  struct Step {
    PersistentStep kernel;  // rows of 0: none for the kernel
    std::vector<std::pair<int, DecodeAttention>>
        attention;  // by layer: those that kernels of their own compute
  };
  AttentionScratch scratch_{};
  bool in_spans_ = false;
  std::map<int64_t, Step> steps_;  // by key
  Mode mode_ = Mode::kOff;
  Step* step_ = nullptr;
  Next next_ = Next::kQkv;
  bool fits_ = false;  // so far
  int64_t launches_ = 0;
  const std::byte* owner_[2] = {};  // by kind: the keys of the last layer that has its own
  int owner_layer_[2] = {};
};

}  // namespace facet::cuda
