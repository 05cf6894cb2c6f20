// Gemma 3. Source: transformers' configuration_gemma3.py and modeling_gemma3.py (5.x). The multimodal
// checkpoints write only what differs from the defaults, so those are here.
#include <cmath>

#include "base/error.h"
#include "formats/hf_text.h"
#include "model/spec_limits.h"

namespace facet::hf {
namespace {

/// Older configs: rope_theta, rope_local_base_freq and rope_scaling, which concerns the full layers.
RopeParameters older_rope(const JsonView& text, LayerKind kind) {
  const bool full = kind == LayerKind::kFull;
  RopeParameters rope{.theta = full ? 1e6 : 1e4};
  if (const auto theta = text.find(full ? "rope_theta" : "rope_local_base_freq")) {
    rope.theta = theta->positive_number();
    if (rope.theta > kMaxRopeTheta) throw theta->unexpected("a smaller number");
  }
  const auto scaling = full ? text.find("rope_scaling") : std::nullopt;
  return scaling ? read_rope(*scaling, rope) : rope;
}

}  // namespace

ModelSpec gemma3_spec(const JsonView& text) {
  refuse_other_math(text);
  if (const auto cap = text.find("attn_logit_softcapping")) throw cap->unexpected("null");
  ModelSpec spec;
  spec.vocab_size = text.integer_or("vocab_size", 262208, 1, kMaxVocabulary);
  spec.hidden_size = text.integer_or("hidden_size", 2304, 1, kMaxWidth);
  spec.context_length = text.integer_or("max_position_embeddings", 131072, 1, kMaxContext);
  spec.rms_eps = text.number_or("rms_norm_eps", 1e-6);
  spec.logit_softcap = text.number_or("final_logit_softcapping", 0);
  spec.embed_scale = std::sqrt(static_cast<double>(spec.hidden_size));
  const auto scalar = text.find("query_pre_attn_scalar");
  spec.attention_scale = 1 / std::sqrt(scalar ? scalar->positive_number() : 256.0);
  spec.norm_weight_plus_one = true;

  LayerSpec base;
  base.head_dim = text.integer_or("head_dim", 256, 1, kMaxHeadDim);
  base.q_heads = text.integer_or("num_attention_heads", 8, 1, kMaxHeads);
  base.kv_heads = text.integer_or("num_key_value_heads", 4, 1, kMaxHeads);
  base.ffn_dim = text.integer_or("intermediate_size", 9216, 1, kMaxWidth);
  base.v_norm = false;
  base.has_layer_scalar = false;
  const int window = text.integer_or("sliding_window", 4096, 1, kMaxContext);
  const int layers = text.integer_or("num_hidden_layers", 26, 1, kMaxLayers);
  const int period = text.integer_or("sliding_window_pattern", kDefaultPattern, 1, kMaxLayers);
  for (const LayerKind kind : layer_kinds(text, layers, period)) {
    LayerSpec& layer = spec.layers.emplace_back(base);
    layer.kind = kind;
    layer.window = layer.is_full() ? 0 : window;
  }
  resolve_kv_sharing(spec, 0);
  resolve_ropes(spec, rope_parameters(text, LayerKind::kSliding, older_rope(text, LayerKind::kSliding)),
                rope_parameters(text, LayerKind::kFull, older_rope(text, LayerKind::kFull)));
  return spec;
}

}  // namespace facet::hf
