// A step of many sequences of a small model, divided by sequences.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "model/forward.h"

namespace facet {

/// Gives each of a backend's lanes some of a step's sequences, which it takes through all layers and the head
/// by itself. Threads that divide a step by operations meet about a hundred times in it; these meet once, and
/// one that the system takes off its core holds nobody up meanwhile. What a sequence gets is the same to the
/// bit, as a row's result does not depend on its step.
class StepLanes {
 public:
  /// `forward`: what runs the steps that lanes do not. All references must outlive this.
  StepLanes(const ModelSpec& spec, const ModelWeights& weights, KvCache& cache, Backend& backend,
            const ForwardPass& forward);
  StepLanes(const StepLanes&) = delete;
  StepLanes& operator=(const StepLanes&) = delete;

  /// Runs `step` and the logits of its outputs; false, and nothing done, where that is not worth it.
  [[nodiscard]] bool run(const Step& step);
  /// Logits [count, vocab] of outputs [first, first + count) of the last step that ran here.
  [[nodiscard]] std::span<const float> logits(int first, int count) const noexcept;

 private:
  struct Lane {
    std::unique_ptr<Backend> backend;
    std::unique_ptr<ForwardPass> forward;
  };
  /// Rows and outputs of a step, [begin, end) each, that one lane takes at a time.
  struct Unit {
    size_t row_begin = 0, row_end = 0;
    size_t output_begin = 0, output_end = 0;
  };
  [[nodiscard]] bool divide(const Step& step);
  void run_unit(Lane& lane, const Unit& unit);

  Backend& backend_;
  KvCache& cache_;
  size_t vocab_;
  size_t most_outputs_ = 0;
  std::vector<Lane> lanes_;
  std::function<void(int, int)> work_;
  // Of the step at hand; sized once.
  const Step* step_ = nullptr;
  std::vector<Unit> units_;
  std::vector<int32_t> outputs_;  // counted from the unit's first row
  std::vector<float> logits_;     // [most_outputs_, vocab_]
};

}  // namespace facet
