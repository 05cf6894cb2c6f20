// A model's weights in a backend's memory, and the one table that names every one of them.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "model/spec.h"
#include "model/weight_source.h"

namespace facet {

/// A norm's weight or another small vector, f32 in backend memory.
struct Vector {
  Buffer memory;
  [[nodiscard]] const float* data() const noexcept { return reinterpret_cast<const float*>(memory.get()); }
};

using Matrix = std::unique_ptr<Weight>;

struct MoeWeights {
  Matrix router;             // [experts, hidden]
  Vector router_scale;       // [hidden], hidden^-½ folded in
  Vector per_expert_scale;   // [experts]
  Matrix gate_up;            // [experts · 2 ffn_dim, hidden]
  Matrix down;               // [experts · hidden, ffn_dim]
  Vector post_norm_dense;    // [hidden]
  Vector pre_norm;           // [hidden]
  Vector post_norm_experts;  // [hidden]
};

struct LayerWeights {
  Vector input_norm;           // [hidden]
  Matrix q;                    // [q_heads · head_dim, hidden]
  Vector q_norm;               // [head_dim]
  Matrix k, v;                 // [kv_heads · head_dim, hidden]; null in shared layers, v null where V is K
  Vector k_norm;               // [head_dim]
  Matrix o;                    // [hidden, q_heads · head_dim]
  Vector post_attention_norm;  // [hidden]
  Vector pre_ffn_norm;         // [hidden]
  Matrix gate, up;             // [ffn_dim, hidden]
  Matrix down;                 // [hidden, ffn_dim]
  Vector post_ffn_norm;        // [hidden]
  MoeWeights moe;
  Matrix ple_gate;        // [ple_dim, hidden]
  Matrix ple_projection;  // [hidden, ple_dim]
  Vector post_ple_norm;   // [hidden]
  float layer_scalar = 1;
};

struct ModelWeights {
  Matrix embedding;            // [vocab, hidden], gathered
  Matrix head;                 // the same matrix for the logits
  Matrix ple_table;            // [ple_vocab, layers · ple_dim], gathered, stays mapped
  Matrix ple_projection;       // [layers · ple_dim, hidden]
  Vector ple_projection_norm;  // [ple_dim]
  std::vector<LayerWeights> layers;
  Vector final_norm;  // [hidden]
};

/// Called as weights are taken in: bytes done, bytes in all.
using LoadProgress = std::function<void(int64_t done, int64_t total)>;

/// Takes every weight that `spec` asks for out of `source`. Throws Error{kBadInput} naming the tensor when
/// one is missing or has another shape, Error{kDevice} when memory is short. layer_scalar may be absent (1).
[[nodiscard]] ModelWeights load_weights(const ModelSpec& spec, const WeightSource& source, Backend& backend,
                                        const LoadProgress& progress = {});

/// One row of the weight table.
struct WeightRow {
  enum class Use : uint8_t { kMatmul, kTable, kVector, kScalar };
  std::string name;
  int64_t rows = 1;
  int64_t cols = 0;
  Use use = Use::kMatmul;
  bool optional = false;
};

/// The matrix of a row of the table, as `source` stores it. Throws Error{kBadInput} naming the tensor when it
/// is missing or has another shape.
[[nodiscard]] MatrixView stored_matrix(const WeightSource& source, const WeightRow& row);
/// The same for a vector or a scalar; nothing when it may be absent and is.
[[nodiscard]] std::optional<std::vector<float>> stored_vector(const WeightSource& source,
                                                              const WeightRow& row);

/// Every tensor that `spec` needs, in the order of use: what `facet inspect --tensors` lists.
[[nodiscard]] std::vector<WeightRow> weight_table(const ModelSpec& spec);

}  // namespace facet
