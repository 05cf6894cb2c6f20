// The forward pass of a Gemma text model.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "backend/backend.h"
#include "model/kv_cache.h"
#include "model/spec.h"
#include "model/weights.h"

namespace facet {

/// One step: rows of any number of sequences, prefill chunks and single tokens mixed. A sequence's rows are
/// consecutive positions in order. Host memory.
struct Step {
  std::span<const int32_t> tokens;     // [rows]
  std::span<const int32_t> positions;  // [rows]
  std::span<const int32_t> sequences;  // [rows]
  std::span<const int32_t> outputs;    // rows whose hidden state is wanted, ascending; a sequence's last ones
};

/// Runs steps over a model. Owns the activations, sized once; nothing is allocated in run().
class ForwardPass {
 public:
  /// `max_rows` bounds a step's rows, `max_logit_rows` one logits() call. All references must outlive this.
  ForwardPass(const ModelSpec& spec, const ModelWeights& weights, KvCache& cache, Backend& backend,
              int max_rows, int max_logit_rows);

  /// Processes a step: K and V of every row go to the cache (which must have been extended), and the rows in
  /// step.outputs go through all layers. The others stop where nothing more of them is needed: at the last
  /// layer that owns a cache, after its K and V. `whole` sends every row through everything.
  void run(const Step& step, bool whole = false);

  /// Final hidden states of the last run's outputs, in order: [outputs, hidden], backend memory.
  [[nodiscard]] const float* hidden() const noexcept { return hidden_; }

  /// Logits of outputs [first, first + count): [count, vocab], backend memory, valid until the next call.
  const float* logits(int first, int count) noexcept;
  /// The same to `out`, as many as there are.
  void logits_to(int first, int count, float* out) noexcept;

  [[nodiscard]] int max_rows() const noexcept { return max_rows_; }
  [[nodiscard]] int max_logit_rows() const noexcept { return max_logit_rows_; }

 private:
  Rows upload(const Step& step);
  /// The step's outputs on the device, of what was uploaded last.
  [[nodiscard]] const int32_t* outputs_of(const Rows& rows) const noexcept;
  [[nodiscard]] Rows keep_outputs(const Step& step, const Rows& rows);
  void run_layers(const Step& step, Rows rows, bool whole);
  void embed(const Rows& rows, int layers, float* x0);
  [[nodiscard]] Step pick(const Step& step, bool wanted);
  void fill_cache(const Rows& rows);
  void run_layer(int l, const Rows& rows);
  void store_kv(int l, const Rows& rows);
  [[nodiscard]] QkvArgs qkv_args(int l) const;
  [[nodiscard]] AttentionShape attention_shape(const LayerSpec& layer) const;

  const ModelSpec& spec_;
  const ModelWeights& weights_;
  KvCache& cache_;
  Backend& backend_;
  int max_rows_;
  int max_logit_rows_;
  float eps_;

  Buffer memory_;
  std::vector<Vector> inv_freq_;  // [ropes] of [head_dim / 2]
  float* residual_ = nullptr;     // [rows, hidden]
  float* kept_ = nullptr;         // [rows, hidden], the outputs' rows of it
  float* x_ = nullptr;            // the one of the two in use
  float* q_ = nullptr;            // [rows, q_width]
  float* attended_ = nullptr;     // [rows, q_width]
  float* ffn_ = nullptr;          // [rows, ffn_dim]
  float* ple_ = nullptr;          // [rows, ple_layers_, ple_dim]
  int ple_layers_ = 0;
  float* hidden_ = nullptr;        // [rows, hidden]
  float* logits_ = nullptr;        // [logit_rows, vocab]
  int32_t* ids_ = nullptr;         // [3, rows of the step]: tokens, positions, sequences; then outputs
  std::vector<int32_t> ids_host_;  // the same
  std::vector<int32_t> kept_ids_;  // [3, rows], host
};

}  // namespace facet
