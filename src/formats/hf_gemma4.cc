// Gemma 4. Source: transformers' configuration_gemma4.py and modeling_gemma4.py (5.x).
#include <fmt/format.h>

#include <charconv>
#include <cmath>
#include <numbers>

#include "base/error.h"
#include "base/quote.h"
#include "formats/hf_text.h"
#include "model/spec_limits.h"

namespace facet::hf {
namespace {

constexpr int kDefaultGlobalHeadDim = 512;

/// Head sizes by the layer's kind, as the published checkpoints give them.
void apply_global_sizes(const JsonView& text, ModelSpec& spec) {
  const int head_dim = text.integer_or("global_head_dim", kDefaultGlobalHeadDim, 1, kMaxHeadDim);
  const int kv_heads = text.integer_or("num_global_key_value_heads", 0, 1, kMaxHeads);
  const bool k_eq_v = text.boolean_or("attention_k_eq_v", false);
  for (LayerSpec& layer : spec.layers) {
    if (!layer.is_full()) continue;
    layer.head_dim = head_dim;
    if (k_eq_v && kv_heads > 0) layer.kv_heads = kv_heads;
  }
}

/// {"4": {"head_dim": 512, "num_key_value_heads": 2}, …}: differences from the base sizes.
void apply_per_layer_config(const JsonView& overrides, ModelSpec& spec) {
  for (const auto& [key, value] : overrides.object().items()) {
    int index = -1;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), index);
    if (error != std::errc() || end != key.data() + key.size() || index < 0 || index >= spec.layer_count())
      throw bad_input(fmt::format("{}: expected layer indices from 0 to {}, got {}", overrides.where(),
                                  spec.layer_count() - 1, quote(key)));
    const JsonView layer_config = overrides.at(key);
    LayerSpec& layer = spec.layers[static_cast<size_t>(index)];
    for (const auto& [field, unused] : layer_config.object().items())
      if (field != "head_dim" && field != "num_key_value_heads")
        throw bad_input(fmt::format("{}: expected head_dim and num_key_value_heads, got {}",
                                    layer_config.where(), quote(field)));
    layer.head_dim = layer_config.integer_or("head_dim", layer.head_dim, 1, kMaxHeadDim);
    layer.kv_heads = layer_config.integer_or("num_key_value_heads", layer.kv_heads, 1, kMaxHeads);
  }
}

void resolve_ffn(const JsonView& text, ModelSpec& spec) {
  const int width = text.at("intermediate_size").integer(1, kMaxWidth / 2);
  const bool double_wide = text.boolean_or("use_double_wide_mlp", false);
  for (int l = 0; l < spec.layer_count(); ++l)
    spec.layers[static_cast<size_t>(l)].ffn_dim = double_wide && !spec.owns_kv(l) ? 2 * width : width;
  if (!text.boolean_or("enable_moe_block", false)) return;
  MoeSpec moe;
  moe.experts = text.at("num_experts").integer(1, kMaxExperts);
  moe.top_k = text.at("top_k_experts").integer(1, moe.experts);
  moe.ffn_dim = text.at("moe_intermediate_size").integer(1, kMaxWidth);
  for (LayerSpec& layer : spec.layers) layer.moe = moe;
}

void resolve_per_layer_embeddings(const JsonView& text, ModelSpec& spec) {
  spec.ple_dim = text.at("hidden_size_per_layer_input").integer(0, kMaxWidth);
  if (spec.ple_dim == 0) return;
  spec.ple_vocab_size = text.at("vocab_size_per_layer_input").integer(1, kMaxVocabulary);
  spec.ple_embed_scale = std::sqrt(static_cast<double>(spec.ple_dim));
  spec.ple_projection_scale = 1 / std::sqrt(static_cast<double>(spec.hidden_size));
  spec.ple_combination_scale = 1 / std::numbers::sqrt2;
}

/// The defaults go for a config without any rope_parameters; one that has them must be whole.
RopeParameters rope_of(const JsonView& text, LayerKind kind, const RopeParameters& defaults) {
  return text.find("rope_parameters") ? rope_parameters(text, kind, {}) : defaults;
}

}  // namespace

ModelSpec gemma4_spec(const JsonView& text) {
  refuse_other_math(text);
  ModelSpec spec;
  spec.vocab_size = text.at("vocab_size").integer(1, kMaxVocabulary);
  spec.hidden_size = text.at("hidden_size").integer(1, kMaxWidth);
  spec.context_length = text.at("max_position_embeddings").integer(1, kMaxContext);
  spec.rms_eps = text.number_or("rms_norm_eps", 1e-6);
  spec.logit_softcap = text.number_or("final_logit_softcapping", 0);
  spec.embed_scale = std::sqrt(static_cast<double>(spec.hidden_size));
  spec.attention_scale = 1;

  LayerSpec base;
  base.head_dim = text.at("head_dim").integer(1, kMaxHeadDim);
  base.q_heads = text.at("num_attention_heads").integer(1, kMaxHeads);
  base.kv_heads = text.at("num_key_value_heads").integer(1, kMaxHeads);
  const int window = text.at("sliding_window").integer(1, kMaxContext);
  const bool k_eq_v = text.boolean_or("attention_k_eq_v", false);
  std::vector<LayerKind> kinds =
      layer_kinds(text, text.at("num_hidden_layers").integer(1, kMaxLayers), kDefaultPattern);
  kinds.back() = LayerKind::kFull;  // as transformers forces it
  for (const LayerKind kind : kinds) {
    LayerSpec& layer = spec.layers.emplace_back(base);
    layer.kind = kind;
    layer.window = layer.is_full() ? 0 : window;
    layer.v_from_k = k_eq_v && layer.is_full();
  }
  if (const auto overrides = text.find("per_layer_config"))
    apply_per_layer_config(*overrides, spec);
  else
    apply_global_sizes(text, spec);

  resolve_kv_sharing(spec, text.integer_or("num_kv_shared_layers", 0, 0, kMaxLayers));
  resolve_ropes(spec, rope_of(text, LayerKind::kSliding, {.theta = 1e4}),
                rope_of(text, LayerKind::kFull, {.theta = 1e6, .rotary_factor = 0.25}));
  resolve_ffn(text, spec);
  resolve_per_layer_embeddings(text, spec);
  return spec;
}

}  // namespace facet::hf
