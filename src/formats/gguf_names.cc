#include "formats/gguf_names.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <span>

namespace facet {
namespace {

struct NamePair {
  std::string_view canonical;
  std::string_view gguf;
};

constexpr std::array<NamePair, 5> kModelNames = {{
    {"embed_tokens.weight", "token_embd.weight"},
    {"embed_tokens_per_layer.weight", "per_layer_token_embd.weight"},
    {"per_layer_model_projection.weight", "per_layer_model_proj.weight"},
    {"per_layer_projection_norm.weight", "per_layer_proj_norm.weight"},
    {"norm.weight", "output_norm.weight"},
}};

constexpr std::array<NamePair, 25> kLayerNames = {{
    {"input_layernorm.weight", "attn_norm.weight"},
    {"self_attn.q_proj.weight", "attn_q.weight"},
    {"self_attn.k_proj.weight", "attn_k.weight"},
    {"self_attn.v_proj.weight", "attn_v.weight"},
    {"self_attn.o_proj.weight", "attn_output.weight"},
    {"self_attn.q_norm.weight", "attn_q_norm.weight"},
    {"self_attn.k_norm.weight", "attn_k_norm.weight"},
    {"post_attention_layernorm.weight", "post_attention_norm.weight"},
    {"pre_feedforward_layernorm.weight", "ffn_norm.weight"},
    {"mlp.gate_proj.weight", "ffn_gate.weight"},
    {"mlp.up_proj.weight", "ffn_up.weight"},
    {"mlp.down_proj.weight", "ffn_down.weight"},
    {"post_feedforward_layernorm.weight", "post_ffw_norm.weight"},
    {"post_feedforward_layernorm_1.weight", "post_ffw_norm_1.weight"},
    {"pre_feedforward_layernorm_2.weight", "pre_ffw_norm_2.weight"},
    {"post_feedforward_layernorm_2.weight", "post_ffw_norm_2.weight"},
    {"router.proj.weight", "ffn_gate_inp.weight"},
    {"router.scale", "ffn_gate_inp.scale"},
    {"router.per_expert_scale", "ffn_down_exps.scale"},
    {"experts.gate_up_proj", "ffn_gate_up_exps.weight"},
    {"experts.down_proj", "ffn_down_exps.weight"},
    {"per_layer_input_gate.weight", "inp_gate.weight"},
    {"per_layer_projection.weight", "proj.weight"},
    {"post_per_layer_input_norm.weight", "post_norm.weight"},
    {"layer_scalar", "layer_output_scale.weight"},
}};

std::optional<std::string_view> lookup(std::span<const NamePair> names, std::string_view canonical) {
  const auto found = std::ranges::find(names, canonical, &NamePair::canonical);
  return found == names.end() ? std::nullopt : std::optional(found->gguf);
}

}  // namespace

std::optional<std::string> gguf_name(std::string_view canonical) {
  constexpr std::string_view kModel = "model.";
  constexpr std::string_view kLayers = "layers.";
  if (!canonical.starts_with(kModel)) return std::nullopt;
  std::string_view rest = canonical.substr(kModel.size());
  if (!rest.starts_with(kLayers)) {
    const auto name = lookup(kModelNames, rest);
    return name ? std::optional<std::string>(*name) : std::nullopt;
  }
  rest.remove_prefix(kLayers.size());
  const size_t dot = rest.find('.');
  if (dot == std::string_view::npos) return std::nullopt;
  const auto name = lookup(kLayerNames, rest.substr(dot + 1));
  if (!name) return std::nullopt;
  return fmt::format("blk.{}.{}", rest.substr(0, dot), *name);
}

}  // namespace facet
