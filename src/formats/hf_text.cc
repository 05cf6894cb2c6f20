#include "formats/hf_text.h"

#include <fmt/format.h>

#include <utility>

#include "base/error.h"
#include "formats/rope_table.h"
#include "model/spec_limits.h"

namespace facet::hf {
namespace {

LayerKind layer_kind(const JsonView& name) {
  if (name.string() == "sliding_attention") return LayerKind::kSliding;
  if (name.string() == "full_attention") return LayerKind::kFull;
  throw name.unexpected("\"sliding_attention\" or \"full_attention\"");
}

}  // namespace

std::vector<LayerKind> layer_kinds(const JsonView& text, int layers, int period) {
  std::vector<LayerKind> kinds;
  const auto types = text.find("layer_types");
  if (!types) {
    for (int l = 0; l < layers; ++l)
      kinds.push_back((l + 1) % period == 0 ? LayerKind::kFull : LayerKind::kSliding);
  } else {
    if (types->array_size() != static_cast<size_t>(layers))
      throw types->unexpected(fmt::format("an array of {} (num_hidden_layers)", layers));
    for (size_t l = 0; l < types->array_size(); ++l) kinds.push_back(layer_kind(types->at(l)));
  }
  return kinds;
}

void refuse_other_math(const JsonView& text) {
  if (const auto activation = text.find("hidden_activation"))
    if (activation->string() != "gelu_pytorch_tanh") throw activation->unexpected("\"gelu_pytorch_tanh\"");
  if (text.boolean_or("attention_bias", false)) throw text.at("attention_bias").unexpected("false");
  if (const auto direction = text.find("use_bidirectional_attention"))
    if (!(direction->is_boolean() && !direction->boolean()) &&
        !(direction->is_string() && direction->string() == "vision"))
      throw direction->unexpected("null, false or \"vision\"");
}

RopeParameters read_rope(const JsonView& parameters, RopeParameters rope) {
  const auto theta = parameters.find("rope_theta");
  if (theta || rope.theta == 0) {
    rope.theta = parameters.at("rope_theta").positive_number();
    if (rope.theta > kMaxRopeTheta) throw theta->unexpected(fmt::format("at most {}", kMaxRopeTheta));
  }
  const std::string type = parameters.string_or("rope_type", "default");
  if (type != "default" && type != "proportional" && type != "linear")
    throw parameters.at("rope_type").unexpected("\"default\", \"proportional\" or \"linear\"");
  rope.rotary_factor = 1;
  if (type == "proportional") {
    rope.rotary_factor = parameters.number_or("partial_rotary_factor", 1);
    if (rope.rotary_factor <= 0 || rope.rotary_factor > 1)
      throw parameters.at("partial_rotary_factor").unexpected("a number above 0, at most 1");
  }
  if (type != "default") {
    if (const auto divisor = parameters.find("factor")) rope.divisor = divisor->positive_number();
  }
  return rope;
}

RopeParameters rope_parameters(const JsonView& text, LayerKind kind, RopeParameters fallback) {
  const auto all = text.find("rope_parameters");
  if (!all) return fallback;
  const bool keyed = all->find("full_attention") || all->find("sliding_attention");
  if (!keyed) return read_rope(*all, fallback);
  const char* key = kind == LayerKind::kFull ? "full_attention" : "sliding_attention";
  const auto own = all->find(key);
  if (!own && fallback.theta != 0) return fallback;
  return read_rope(all->at(key), fallback);
}

void resolve_ropes(ModelSpec& spec, const RopeParameters& sliding, const RopeParameters& full) {
  for (LayerSpec& layer : spec.layers) {
    const RopeParameters& parameters = layer.is_full() ? full : sliding;
    const int pairs = static_cast<int>(parameters.rotary_factor * layer.head_dim / 2);
    RopeSpec rope = RopeSpec::make(parameters.theta, layer.head_dim, pairs);
    for (float& frequency : rope.inv_freq) frequency = static_cast<float>(frequency / parameters.divisor);
    layer.rope = rope_index(spec, std::move(rope));
  }
}

}  // namespace facet::hf
