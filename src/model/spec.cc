#include "model/spec.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string_view>

#include "base/error.h"
#include "model/spec_limits.h"

namespace facet {
namespace {

void check_range(std::string_view field, int64_t got, int64_t low, int64_t high) {
  if (got < low || got > high)
    throw bad_input(fmt::format("model: {}: expected {} to {}, got {}", field, low, high, got));
}

void check_positive(std::string_view field, double got) {
  if (!std::isfinite(got) || got <= 0)
    throw bad_input(fmt::format("model: {}: expected a positive finite number, got {}", field, got));
}

void check_token_id(std::string_view field, int id, int vocab_size) {
  if (id < 0 || id >= vocab_size)
    throw bad_input(fmt::format("model: {}: expected a token id below {}, got {}", field, vocab_size, id));
}

void validate_scalars(const ModelSpec& spec) {
  check_range("num_hidden_layers", static_cast<int64_t>(spec.layers.size()), 1, kMaxLayers);
  check_range("vocab_size", spec.vocab_size, 1, kMaxVocabulary);
  check_range("hidden_size", spec.hidden_size, 1, kMaxWidth);
  check_range("context_length", spec.context_length, 1, kMaxContext);
  check_positive("rms_norm_eps", spec.rms_eps);
  check_positive("embedding scale", spec.embed_scale);
  check_positive("attention scale", spec.attention_scale);
  if (spec.logit_softcap != 0) check_positive("final_logit_softcapping", spec.logit_softcap);
  check_range("per-layer embedding width", spec.ple_dim, 0, kMaxWidth);
  if (spec.ple_dim > 0) {
    check_range("per-layer embedding vocabulary", spec.ple_vocab_size, 1, kMaxVocabulary);
    check_positive("per-layer embedding scale", spec.ple_embed_scale);
    check_positive("per-layer projection scale", spec.ple_projection_scale);
    check_positive("per-layer combination scale", spec.ple_combination_scale);
  }
  if (spec.bos_id != -1) check_token_id("bos_token_id", spec.bos_id, spec.vocab_size);
  if (spec.pad_id != -1) check_token_id("pad_token_id", spec.pad_id, spec.vocab_size);
  for (const int id : spec.eos_ids) check_token_id("eos_token_id", id, spec.vocab_size);
}

void validate_attention(const LayerSpec& layer, const std::string& where) {
  check_range(where + "head_dim", layer.head_dim, 2, kMaxHeadDim);
  if (layer.head_dim % 2 != 0)
    throw bad_input(fmt::format("model: {}head_dim: expected an even number, got {}", where, layer.head_dim));
  check_range(where + "query heads", layer.q_heads, 1, kMaxHeads);
  check_range(where + "key/value heads", layer.kv_heads, 1, kMaxHeads);
  if (layer.q_heads % layer.kv_heads != 0)
    throw bad_input(fmt::format("model: {}key/value heads: expected a divisor of the {} query heads, got {}",
                                where, layer.q_heads, layer.kv_heads));
  if (layer.is_full())
    check_range(where + "window of a full layer", layer.window, 0, 0);
  else
    check_range(where + "sliding_window", layer.window, 1, kMaxContext);
}

void validate_rope(const ModelSpec& spec, const LayerSpec& layer, const std::string& where) {
  check_range(where + "rope index", layer.rope, 0, static_cast<int64_t>(spec.ropes.size()) - 1);
  const std::vector<float>& freq = spec.ropes[static_cast<size_t>(layer.rope)].inv_freq;
  const auto pairs = static_cast<size_t>(layer.head_dim / 2);
  if (freq.size() != pairs)
    throw bad_input(fmt::format("model: {}rope: expected {} frequencies (head_dim / 2), got {}", where, pairs,
                                freq.size()));
  const auto bad = std::ranges::find_if(freq, [](float f) { return !std::isfinite(f) || f < 0; });
  if (bad != freq.end())
    throw bad_input(
        fmt::format("model: {}rope: expected finite frequencies of at least 0, got {}", where, *bad));
}

void validate_kv_source(const ModelSpec& spec, int index, const std::string& where) {
  const LayerSpec& layer = spec.layers[static_cast<size_t>(index)];
  check_range(where + "kv source", layer.kv_source, 0, index);
  if (layer.kv_source == index) return;
  const LayerSpec& owner = spec.layers[static_cast<size_t>(layer.kv_source)];
  const bool matches = owner.kv_source == layer.kv_source && owner.kind == layer.kind &&
                       owner.head_dim == layer.head_dim && owner.kv_heads == layer.kv_heads &&
                       owner.window == layer.window && owner.rope == layer.rope;
  if (!matches)
    throw bad_input(fmt::format(
        "model: {}kv source: expected a layer with its own K/V of the same kind, window, rope and sizes, got "
        "layer {}",
        where, layer.kv_source));
}

void validate_layer(const ModelSpec& spec, int index) {
  const LayerSpec& layer = spec.layers[static_cast<size_t>(index)];
  const std::string where = fmt::format("layer {}: ", index);
  validate_attention(layer, where);
  validate_rope(spec, layer, where);
  validate_kv_source(spec, index, where);
  check_range(where + "intermediate_size", layer.ffn_dim, 1, kMaxWidth);
  if (!layer.moe) return;
  check_range(where + "num_experts", layer.moe->experts, 1, kMaxExperts);
  check_range(where + "top_k_experts", layer.moe->top_k, 1, layer.moe->experts);
  check_range(where + "moe_intermediate_size", layer.moe->ffn_dim, 1, kMaxWidth);
}

}  // namespace

RopeSpec RopeSpec::make(double theta, int head_dim, int rotated_pairs) {
  // In f32 step by step, as the reference implementations do: at position 100,000 the last bit of a
  // frequency is a visible angle, so a more exact value would be a different model.
  RopeSpec rope;
  rope.theta = theta;
  rope.inv_freq.resize(static_cast<size_t>(head_dim / 2), 0.0F);
  const auto pairs = std::min(static_cast<size_t>(std::max(rotated_pairs, 0)), rope.inv_freq.size());
  for (size_t i = 0; i < pairs; ++i) {
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(head_dim);
    rope.inv_freq[i] = 1.0F / std::pow(static_cast<float>(theta), exponent);
  }
  return rope;
}

int ModelSpec::last_kv_owner() const noexcept {
  for (int l = layer_count() - 1; l > 0; --l)
    if (owns_kv(l)) return l;
  return 0;
}

int ModelSpec::max_q_width() const noexcept {
  int width = 0;
  for (const LayerSpec& l : layers) width = std::max(width, l.q_heads * l.head_dim);
  return width;
}

int ModelSpec::max_kv_width() const noexcept {
  int width = 0;
  for (const LayerSpec& l : layers) width = std::max(width, l.kv_heads * l.head_dim);
  return width;
}

int ModelSpec::max_ffn_dim() const noexcept {
  int width = 0;
  for (const LayerSpec& l : layers) width = std::max(width, l.ffn_dim);
  return width;
}

int ModelSpec::shared_kv_layers() const noexcept {
  int shared = 0;
  for (int l = 0; l < layer_count(); ++l) shared += owns_kv(l) ? 0 : 1;
  return shared;
}

const LayerSpec* ModelSpec::first_layer(LayerKind kind) const noexcept {
  const auto found = std::ranges::find(layers, kind, &LayerSpec::kind);
  return found == layers.end() ? nullptr : &*found;
}

void resolve_kv_sharing(ModelSpec& spec, int shared) {
  const int count = spec.layer_count();
  if (shared < 0 || shared >= count)
    throw bad_input(fmt::format(
        "model: num_kv_shared_layers: expected 0 to {} (one of the {} layers must own its K/V), got {}",
        count - 1, count, shared));
  const int owners = count - shared;
  int last_sliding = -1;
  int last_full = -1;
  for (int l = 0; l < count; ++l) {
    LayerSpec& layer = spec.layers[static_cast<size_t>(l)];
    int& last = layer.is_full() ? last_full : last_sliding;
    if (l < owners) last = l;
    if (last < 0)
      throw bad_input(
          fmt::format("model: layer {}: expected a {} layer before layer {} to share K/V with, got none (the "
                      "last {} of {} "
                      "layers share)",
                      l, layer.is_full() ? "full-attention" : "sliding-attention", owners, shared, count));
    layer.kv_source = last;
  }
}

void validate(const ModelSpec& spec) {
  validate_scalars(spec);
  for (int l = 0; l < spec.layer_count(); ++l) validate_layer(spec, l);
}

}  // namespace facet
