#include "formats/lalamo_names.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <span>

namespace facet {
namespace {

struct Entry {
  std::string_view canonical;
  std::string_view path;        // current and nested
  std::string_view other = {};  // flat or newer
  LalamoPart part = LalamoPart::kWhole;
};

constexpr std::array<Entry, 5> kModelNames = {{
    {"embed_tokens.weight", "embedding.embedding", "embedding"},
    {"embed_tokens_per_layer.weight", "per_layer_embedding.token_embedding", "ple.embed_tokens_per_layer"},
    {"per_layer_model_projection.weight", "per_layer_embedding.model_projection",
     "ple.per_layer_model_projection"},
    {"per_layer_projection_norm.weight", "per_layer_embedding.projection_norm.scales",
     "ple.per_layer_projection_norm.scales"},
    {"norm.weight", "transformer.output_norm.scales"},
}};

constexpr std::array<Entry, 17> kLayerNames = {{
    {"input_layernorm.weight", "pre_mixer_norm.scales", "pre_attention_norm.scales"},
    {"self_attn.q_proj.weight", "mixer.qkv_projection", "mixer.qkvg_projection", LalamoPart::kQuery},
    {"self_attn.k_proj.weight", "mixer.qkv_projection", "mixer.qkvg_projection", LalamoPart::kKey},
    {"self_attn.v_proj.weight", "mixer.qkv_projection", "mixer.qkvg_projection", LalamoPart::kValue},
    {"self_attn.o_proj.weight", "mixer.out_projection"},
    {"self_attn.q_norm.weight", "mixer.query_norm.scales"},
    {"self_attn.k_norm.weight", "mixer.key_norm.scales"},
    {"post_attention_layernorm.weight", "post_mixer_norm.scales", "post_attention_norm.scales"},
    {"pre_feedforward_layernorm.weight", "pre_mlp_norm.scales"},
    {"mlp.up_proj.weight", "mlp.up_projection", {}, LalamoPart::kUp},
    {"mlp.gate_proj.weight", "mlp.up_projection", {}, LalamoPart::kGate},
    {"mlp.down_proj.weight", "mlp.down_projection"},
    {"post_feedforward_layernorm.weight", "post_mlp_norm.scales"},
    {"per_layer_input_gate.weight", "ple.gate", "ple_gate"},
    {"per_layer_projection.weight", "ple.projection", "ple_projection"},
    {"post_per_layer_input_norm.weight", "ple.norm.scales", "post_ple_norm.scales"},
    {"layer_scalar", "post_layer_scalar", "layer_scalar"},
}};

LalamoName from_table(std::span<const Entry> table, std::string_view canonical, std::string_view prefix) {
  LalamoName name;
  const auto found = std::ranges::find(table, canonical, &Entry::canonical);
  if (found == table.end()) return name;
  name.part = found->part;
  name.paths.push_back(fmt::format("{}{}", prefix, found->path));
  if (!found->other.empty()) name.paths.push_back(fmt::format("{}{}", prefix, found->other));
  return name;
}

}  // namespace

LalamoName lalamo_name(std::string_view canonical) {
  constexpr std::string_view kModel = "model.";
  constexpr std::string_view kLayers = "layers.";
  if (!canonical.starts_with(kModel)) return {};
  std::string_view rest = canonical.substr(kModel.size());
  if (!rest.starts_with(kLayers)) return from_table(kModelNames, rest, "");
  rest.remove_prefix(kLayers.size());
  const size_t dot = rest.find('.');
  int layer = -1;
  const std::string_view number = rest.substr(0, dot);
  const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), layer);
  if (dot == std::string_view::npos || error != std::errc() || end != number.data() + number.size())
    return {};
  LalamoName name =
      from_table(kLayerNames, rest.substr(dot + 1), fmt::format("transformer.layers.{}.", layer));
  name.layer = layer;
  return name;
}

}  // namespace facet
