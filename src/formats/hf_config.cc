#include "formats/hf_config.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>
#include <numbers>

#include "base/error.h"
#include "base/quote.h"
#include "formats/rope_table.h"
#include "model/spec_limits.h"

namespace facet {
namespace {

constexpr int kDefaultGlobalHeadDim = 512;
constexpr int kDefaultPattern = 6;  // every sixth layer attends fully unless layer_types says otherwise

LayerKind layer_kind(const JsonView& name) {
  if (name.string() == "sliding_attention") return LayerKind::kSliding;
  if (name.string() == "full_attention") return LayerKind::kFull;
  throw name.unexpected("\"sliding_attention\" or \"full_attention\"");
}

std::vector<LayerKind> layer_kinds(const JsonView& text, int layers) {
  std::vector<LayerKind> kinds;
  const auto types = text.find("layer_types");
  if (!types) {
    for (int l = 0; l < layers; ++l)
      kinds.push_back((l + 1) % kDefaultPattern == 0 ? LayerKind::kFull : LayerKind::kSliding);
  } else {
    if (types->array_size() != static_cast<size_t>(layers))
      throw types->unexpected(fmt::format("an array of {} (num_hidden_layers)", layers));
    for (size_t l = 0; l < types->array_size(); ++l) kinds.push_back(layer_kind(types->at(l)));
  }
  kinds.back() = LayerKind::kFull;  // as transformers forces it
  return kinds;
}

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

struct RopeParameters {
  double theta = 0;
  double rotary_factor = 1;  // of the pairs, from the first on
};

/// rope_parameters is keyed by layer type, or is one object for all layers.
RopeParameters rope_parameters(const JsonView& text, LayerKind kind) {
  const bool full = kind == LayerKind::kFull;
  const auto all = text.find("rope_parameters");
  if (!all) return full ? RopeParameters{1e6, 0.25} : RopeParameters{1e4, 1};
  const auto own = all->find(full ? "full_attention" : "sliding_attention");
  const JsonView& parameters = own ? *own : *all;
  RopeParameters rope;
  const JsonView theta = parameters.at("rope_theta");
  rope.theta = theta.positive_number();
  if (rope.theta > kMaxRopeTheta) throw theta.unexpected(fmt::format("at most {}", kMaxRopeTheta));
  const std::string type = parameters.string_or("rope_type", "default");
  if (type == "proportional") {
    rope.rotary_factor = parameters.number_or("partial_rotary_factor", 1.0);
    if (rope.rotary_factor <= 0 || rope.rotary_factor > 1)
      throw parameters.at("partial_rotary_factor").unexpected("a number above 0, at most 1");
  } else if (type != "default") {
    throw parameters.at("rope_type").unexpected("\"default\" or \"proportional\"");
  }
  return rope;
}

void resolve_ropes(const JsonView& text, ModelSpec& spec) {
  for (LayerSpec& layer : spec.layers) {
    const RopeParameters rope = rope_parameters(text, layer.kind);
    const int pairs = static_cast<int>(rope.rotary_factor * layer.head_dim / 2);
    layer.rope = rope_index(spec, RopeSpec::make(rope.theta, layer.head_dim, pairs));
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

/// What changes the math and that no Gemma text model sets.
void refuse_other_math(const JsonView& text) {
  if (const auto activation = text.find("hidden_activation"))
    if (activation->string() != "gelu_pytorch_tanh") throw activation->unexpected("\"gelu_pytorch_tanh\"");
  if (text.boolean_or("attention_bias", false)) throw text.at("attention_bias").unexpected("false");
  if (const auto direction = text.find("use_bidirectional_attention"))
    if (!direction->is_string() || direction->string() != "vision")
      throw direction->unexpected("null or \"vision\"");
}

void refuse_untied_head(const JsonView& section) {
  if (!section.boolean_or("tie_word_embeddings", true))
    throw section.at("tie_word_embeddings").unexpected("true (a head of its own is not supported)");
}

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
  for (const LayerKind kind : layer_kinds(text, text.at("num_hidden_layers").integer(1, kMaxLayers))) {
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
  resolve_ropes(text, spec);
  resolve_ffn(text, spec);
  resolve_per_layer_embeddings(text, spec);
  return spec;
}

}  // namespace

std::vector<int> token_id_list(const JsonView& object, std::string_view key) {
  const auto found = object.find(key);
  if (!found) return {};
  if (!found->is_array()) return {found->integer()};
  std::vector<int> ids;
  for (size_t i = 0; i < found->array_size(); ++i) ids.push_back(found->at(i).integer());
  return ids;
}

ModelSpec hf_model_spec(const JsonView& config) {
  const JsonView type = config.at("model_type");
  const bool wrapper = type.string() == "gemma4";
  if (!wrapper && type.string() != "gemma4_text") throw type.unexpected("\"gemma4\" or \"gemma4_text\"");
  const JsonView text = wrapper ? config.at("text_config") : config;
  refuse_untied_head(config);
  refuse_untied_head(text);
  ModelSpec spec = gemma4_spec(text);
  spec.architecture = "gemma4_text";
  spec.bos_id = text.integer_or("bos_token_id", -1);
  spec.pad_id = text.integer_or("pad_token_id", -1);
  spec.eos_ids = token_id_list(wrapper && config.find("eos_token_id") ? config : text, "eos_token_id");
  validate(spec);
  return spec;
}

}  // namespace facet
