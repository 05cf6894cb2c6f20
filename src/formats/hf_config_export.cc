#include "formats/hf_config_export.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "formats/hf_config.h"

namespace facet {
namespace {

using OrderedJson = nlohmann::ordered_json;

/// The parameters that RopeSpec::make and a division made the table of.
OrderedJson rope_parameters(const RopeSpec& rope, bool proportional) {
  const auto turning = std::ranges::count_if(rope.inv_freq, [](float f) { return f > 0; });
  const double divisor = rope.inv_freq.front() > 0 ? 1 / static_cast<double>(rope.inv_freq.front()) : 1;
  OrderedJson parameters = {{"rope_type", proportional   ? "proportional"
                                          : divisor == 1 ? "default"
                                                         : "linear"}};
  if (proportional)
    parameters["partial_rotary_factor"] =
        static_cast<double>(turning) / static_cast<double>(rope.inv_freq.size());
  parameters["rope_theta"] = rope.theta;
  if (divisor != 1) parameters["factor"] = divisor;
  return parameters;
}

OrderedJson ropes(const ModelSpec& spec) {
  OrderedJson all = OrderedJson::object();
  for (const auto& [kind, key] :
       {std::pair(LayerKind::kSliding, "sliding_attention"), std::pair(LayerKind::kFull, "full_attention")}) {
    const LayerSpec* layer = spec.first_layer(kind);
    if (layer == nullptr) layer = &spec.layers.front();  // the reader asks for both
    const RopeSpec& rope = spec.ropes[static_cast<size_t>(layer->rope)];
    const bool still = std::ranges::any_of(rope.inv_freq, [](float f) { return f == 0; });
    all[key] = rope_parameters(rope, still);
  }
  return all;
}

OrderedJson optional_id(int id) {
  return id < 0 ? OrderedJson() : OrderedJson(id);
}

OrderedJson common(const ModelSpec& spec) {
  const LayerSpec* sliding = spec.first_layer(LayerKind::kSliding);
  const LayerSpec& base = sliding != nullptr ? *sliding : spec.layers.front();
  OrderedJson types = OrderedJson::array();
  for (const LayerSpec& layer : spec.layers)
    types.push_back(layer.is_full() ? "full_attention" : "sliding_attention");
  return {
      {"architectures", {spec.architecture == "gemma4_text" ? "Gemma4ForCausalLM" : "Gemma3ForCausalLM"}},
      {"model_type", spec.architecture},
      {"dtype", "bfloat16"},
      {"vocab_size", spec.vocab_size},
      {"hidden_size", spec.hidden_size},
      {"intermediate_size", std::ranges::min(spec.layers, {}, &LayerSpec::ffn_dim).ffn_dim},
      {"num_hidden_layers", spec.layer_count()},
      {"num_attention_heads", base.q_heads},
      {"num_key_value_heads", base.kv_heads},
      {"head_dim", base.head_dim},
      {"hidden_activation", "gelu_pytorch_tanh"},
      {"max_position_embeddings", spec.context_length},
      {"rms_norm_eps", spec.rms_eps},
      {"tie_word_embeddings", true},
      {"attention_bias", false},
      {"sliding_window", std::max(base.window, 1)},
      {"layer_types", types},
      {"rope_parameters", ropes(spec)},
      {"final_logit_softcapping", spec.logit_softcap == 0 ? OrderedJson() : OrderedJson(spec.logit_softcap)},
      {"bos_token_id", optional_id(spec.bos_id)},
      {"pad_token_id", optional_id(spec.pad_id)},
      {"eos_token_id", spec.eos_ids.empty() ? OrderedJson() : OrderedJson(spec.eos_ids)}};
}

void add_gemma4(const ModelSpec& spec, OrderedJson& config) {
  const LayerSpec* full = spec.first_layer(LayerKind::kFull);
  if (full == nullptr) full = &spec.layers.front();
  const bool k_eq_v = std::ranges::any_of(spec.layers, &LayerSpec::v_from_k);
  const auto widths = std::ranges::minmax(spec.layers, {}, &LayerSpec::ffn_dim);
  config["global_head_dim"] = full->head_dim;
  config["num_global_key_value_heads"] = k_eq_v ? OrderedJson(full->kv_heads) : OrderedJson();
  config["attention_k_eq_v"] = k_eq_v;
  config["num_kv_shared_layers"] = spec.shared_kv_layers();
  config["use_double_wide_mlp"] = widths.max.ffn_dim != widths.min.ffn_dim;
  config["hidden_size_per_layer_input"] = spec.ple_dim;
  config["vocab_size_per_layer_input"] = spec.ple_dim > 0 ? spec.ple_vocab_size : spec.vocab_size;
  const auto& moe = spec.layers.front().moe;
  config["enable_moe_block"] = moe.has_value();
  if (!moe) return;
  config["num_experts"] = moe->experts;
  config["top_k_experts"] = moe->top_k;
  config["moe_intermediate_size"] = moe->ffn_dim;
}

void add_gemma3(const ModelSpec& spec, OrderedJson& config) {
  const double scalar = 1 / (spec.attention_scale * spec.attention_scale);
  const double whole = std::round(scalar);  // it was one before the square root
  if (std::abs(scalar - whole) < 1e-6 * whole)
    config["query_pre_attn_scalar"] = static_cast<int64_t>(whole);
  else
    config["query_pre_attn_scalar"] = scalar;
  // The older keys, for readers that know no rope_parameters.
  config["rope_theta"] = config["rope_parameters"]["full_attention"]["rope_theta"];
  config["rope_local_base_freq"] = config["rope_parameters"]["sliding_attention"]["rope_theta"];
  const auto first_full = std::ranges::find(spec.layers, LayerKind::kFull, &LayerSpec::kind);
  if (first_full != spec.layers.end())
    config["sliding_window_pattern"] = first_full - spec.layers.begin() + 1;
}

/// What of `spec` a config.json does not hold: what the files around it say.
ModelSpec comparable(ModelSpec spec) {
  const bool gemma3 = spec.architecture == "gemma3_text";
  spec.norm_weight_plus_one = gemma3;
  if (gemma3) spec.attention_scale = 0;  // a square root there and back
  for (LayerSpec& layer : spec.layers) layer.has_layer_scalar = !gemma3;
  if (spec.eos_ids.empty() && gemma3) spec.eos_ids = {1};
  return spec;
}

}  // namespace

OrderedJson hf_config(const ModelSpec& spec) {
  const bool gemma3 = spec.architecture == "gemma3_text";
  if (!gemma3 && spec.architecture != "gemma4_text")
    throw Error(
        ErrorCode::kFailed,
        fmt::format("writing config.json: expected a Gemma 4 or Gemma 3 model, got {}", spec.architecture));
  OrderedJson config = common(spec);
  gemma3 ? add_gemma3(spec, config) : add_gemma4(spec, config);
  // A model may have sizes of its own in any layer; a config.json has them for two kinds of layers.
  const Json plain = config;
  if (comparable(hf_model_spec(JsonView(plain, "config.json"))) != comparable(spec))
    throw Error(
        ErrorCode::kFailed,
        "the model cannot be described by a config.json: its layers differ in ways that it has no keys "
        "for");
  return config;
}

OrderedJson hf_generation_config(const ModelSpec& spec, const GenerationConfig& generation) {
  OrderedJson config = OrderedJson::object();
  if (spec.bos_id >= 0) config["bos_token_id"] = spec.bos_id;
  if (spec.pad_id >= 0) config["pad_token_id"] = spec.pad_id;
  if (!spec.eos_ids.empty()) config["eos_token_id"] = spec.eos_ids;
  if (generation.temperature) {
    config["do_sample"] = *generation.temperature > 0;
    config["temperature"] = *generation.temperature;
  }
  if (generation.top_k) config["top_k"] = *generation.top_k;
  if (generation.top_p) config["top_p"] = *generation.top_p;
  return config;
}

}  // namespace facet
