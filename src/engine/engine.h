// A model ready to run: weights in a backend, a cache for many sequences, and the forward pass.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "backend/profiled.h"
#include "engine/step_lanes.h"
#include "engine/token_logit.h"
#include "formats/checkpoint.h"
#include "model/forward.h"
#include "model/kv_cache.h"
#include "model/weights.h"

namespace facet {

struct EngineOptions {
  std::string backend = "auto";  ///< auto, reference, cpu, cuda
  std::string isa;               ///< cpu: instruction set; empty: the best this machine has. Makes auto cpu
  int threads = 0;               ///< cpu: 0: one a core that this process may use
  int context = 0;               ///< tokens a sequence; 0: the model's, at most `most_context`
  int most_context = 4096;
  int sequences = 1;           ///< slots
  int chunk = 0;               ///< most rows of one step; 0: what the backend prefers
  int logit_rows = 0;          ///< most rows of one logits() call; 0: as many as sequences, at least 16
  std::optional<KvType> kv;    ///< the backend's default when empty
  int64_t prefix_bytes = 0;    ///< memory for the K and V of prefixes kept for reuse (prefix_cache.h)
  Profile* profile = nullptr;  ///< times every operation into it, or every kernel of a device
  std::optional<Residence> per_layer_table;  ///< cuda: empty: on the host when it is large
  LoadProgress progress;
  std::function<void(const std::string&)> notice;  ///< hears why auto passes a GPU over: one line
};

/// Which hidden states a step should produce for a sequence.
enum class Want : uint8_t { kNothing, kLast, kAll };

/// One sequence's part of a step: its next tokens.
struct SequenceTokens {
  int sequence = 0;
  std::span<const int32_t> tokens;
  Want want = Want::kLast;
};

/// What an engine is made of on a backend, built in this order and in place: they refer to each other, and to
/// the checkpoint and the backend.
struct EngineParts {
  EngineParts(const Checkpoint& checkpoint, Backend& backend, const EngineOptions& options);
  EngineParts(const EngineParts&) = delete;
  EngineParts& operator=(const EngineParts&) = delete;

  std::unique_ptr<KvCache> cache;
  ModelWeights weights;
  std::unique_ptr<ForwardPass> forward;
};

class Engine {
 public:
  /// Loads `checkpoint`'s weights. Throws Error{kBadInput} for a broken checkpoint, Error{kDevice} when the
  /// backend is not there or memory is short, Error{kUsage} for an unknown backend.
  Engine(Checkpoint checkpoint, const EngineOptions& options);
  /// The same on a backend that the caller made.
  Engine(Checkpoint checkpoint, std::unique_ptr<Backend> backend, const EngineOptions& options);
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  [[nodiscard]] const ModelSpec& spec() const noexcept { return checkpoint_.spec; }
  [[nodiscard]] const Checkpoint& checkpoint() const noexcept { return checkpoint_; }
  [[nodiscard]] Backend& backend() noexcept { return *backend_; }
  [[nodiscard]] KvCache& cache() noexcept { return *parts_.cache; }
  [[nodiscard]] int context() const noexcept { return parts_.cache->options().context; }
  [[nodiscard]] int max_rows() const noexcept { return parts_.forward->max_rows(); }

  /// Appends tokens to sequences and runs the model over them: at most max_rows() in all, each sequence at
  /// most once. `whole` sends rows through all layers that could stop early. Throws Error{kFailed} when a
  /// sequence's context or the page pool is full (then nothing has changed for it), Error{kBadInput} for a
  /// token outside the vocabulary.
  /// Outputs are numbered in order: one for kLast, all its tokens for kAll.
  void step(std::span<const SequenceTokens> parts, bool whole = false);
  void step(const SequenceTokens& part, bool whole = false) { step(std::span(&part, 1), whole); }

  /// Throws Error{kBadInput} naming the first token that is not in the vocabulary.
  void check_tokens(std::span<const int32_t> tokens) const;

  /// Logits [vocab] of output `i` of the last step, on the host; valid until the next call.
  std::span<const float> logits(int output);
  /// Logits [count, vocab] of outputs [first, first + count); count ≤ max_logit_rows().
  std::span<const float> logits(int first, int count);
  /// The `likeliest` likeliest tokens of each of outputs [first, first + count), in any order: [count,
  /// likeliest], valid until the next call. Empty where the backend leaves it to the host: see Backend::top.
  std::span<const TokenLogit> top(int first, int count, int likeliest);
  [[nodiscard]] int max_logit_rows() const noexcept { return parts_.forward->max_logit_rows(); }
  [[nodiscard]] int outputs() const noexcept { return static_cast<int>(outputs_.size()); }

 private:
  [[nodiscard]] static std::unique_ptr<Backend> profiled(std::unique_ptr<Backend> backend,
                                                         const EngineOptions& options);
  void reserve();

  Checkpoint checkpoint_;
  std::unique_ptr<Backend> backend_;
  EngineParts parts_;
  StepLanes lanes_;
  bool in_lanes_ = false;  // where the last step ran, and its logits are
  // The step being built; sized once.
  std::vector<int32_t> tokens_, positions_, sequences_, outputs_;
  std::vector<float> logits_;
  std::vector<int32_t> top_ids_;
  std::vector<TokenLogit> top_;
};

}  // namespace facet
