// What a Gemma text model is, as data. Every difference between variants and between layers is resolved
// into these fields when a checkpoint is opened; the forward pass knows no model names.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace facet {

enum class LayerKind : uint8_t { kSliding, kFull };

/// Rotary embedding over pairs (i, i + head_dim/2), "rotate half". A pair whose frequency is 0 stays.
struct RopeSpec {
  std::vector<float> inv_freq;  // [head_dim / 2], radians a position
  double theta = 0;             ///< the base they were made of, for people and for writers

  /// inv_freq[i] = theta^(−2i/head_dim) for i < rotated_pairs, 0 beyond. The "proportional" rule of Gemma 4's
  /// full layers is rotated_pairs = factor · head_dim / 2, with the exponent over the whole head_dim.
  static RopeSpec make(double theta, int head_dim, int rotated_pairs);
  bool operator==(const RopeSpec&) const = default;
};

/// Mixture of experts beside the dense MLP (26B-A4B).
struct MoeSpec {
  int experts = 0;
  int top_k = 0;
  int ffn_dim = 0;
  bool operator==(const MoeSpec&) const = default;
};

struct LayerSpec {
  LayerKind kind = LayerKind::kSliding;
  int head_dim = 0;
  int q_heads = 0;
  int kv_heads = 0;
  int window = 0;     ///< a query at p sees keys in (p − window, p]; 0: all up to p
  int rope = 0;       ///< index into ModelSpec::ropes
  int kv_source = 0;  ///< the layer whose K/V this one attends over; its own index when it owns them
  int ffn_dim = 0;
  bool v_from_k = false;  ///< V is the K projection (attention_k_eq_v); there is no v_proj
  bool v_norm = true;     ///< weightless RMS norm on V
  bool has_layer_scalar = true;
  std::optional<MoeSpec> moe;

  [[nodiscard]] bool is_full() const noexcept { return kind == LayerKind::kFull; }
  bool operator==(const LayerSpec&) const = default;
};

struct ModelSpec {
  std::string architecture;  ///< as the checkpoint names it: "gemma4_text", "gemma3_text", …
  int vocab_size = 0;
  int hidden_size = 0;
  int context_length = 0;
  std::vector<LayerSpec> layers;
  std::vector<RopeSpec> ropes;
  double rms_eps = 1e-6;
  double embed_scale = 1;             ///< √hidden_size
  double attention_scale = 1;         ///< Gemma 4: 1; Gemma 3: query_pre_attn_scalar^-½
  double logit_softcap = 0;           ///< 0: none
  bool norm_weight_plus_one = false;  ///< Gemma 3 checkpoints store w − 1
  // Per-layer embeddings; ple_dim 0 means none.
  int ple_dim = 0;
  int ple_vocab_size = 0;
  double ple_embed_scale = 1;        ///< √ple_dim
  double ple_projection_scale = 1;   ///< hidden_size^-½
  double ple_combination_scale = 1;  ///< 2^-½
  // Special ids, −1 when the checkpoint names none.
  int bos_id = -1;
  int pad_id = -1;
  std::vector<int> eos_ids;

  bool operator==(const ModelSpec&) const = default;
  [[nodiscard]] int layer_count() const noexcept { return static_cast<int>(layers.size()); }
  [[nodiscard]] bool owns_kv(int layer) const noexcept {
    return layers[static_cast<size_t>(layer)].kv_source == layer;
  }
  /// How many layers attend over another's K and V.
  [[nodiscard]] int shared_kv_layers() const noexcept;
  /// The first layer of a kind, or null.
  [[nodiscard]] const LayerSpec* first_layer(LayerKind kind) const noexcept;
  /// The last layer that writes K and V: prompt tokens nobody wants logits of need go no further.
  [[nodiscard]] int last_kv_owner() const noexcept;
  /// The largest of each size over the layers, for buffers shared by all of them.
  [[nodiscard]] int max_q_width() const noexcept;   ///< q_heads · head_dim
  [[nodiscard]] int max_kv_width() const noexcept;  ///< kv_heads · head_dim
  [[nodiscard]] int max_ffn_dim() const noexcept;
};

/// Resolves KV sharing once: the last `shared` layers attend over the last owning layer of their own kind.
/// Throws Error{kBadInput} when a shared layer has no owner to read from.
void resolve_kv_sharing(ModelSpec& spec, int shared);

/// The one place that checks a spec's invariants: positive, bounded sizes, heads that divide, an even
/// head_dim, kv_source that owns and matches. Throws Error{kBadInput} naming the field, expected and got.
void validate(const ModelSpec& spec);

}  // namespace facet
