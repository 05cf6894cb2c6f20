#include "formats/gguf_export.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>

#include "base/error.h"

namespace facet {
namespace {

constexpr float kNoRotation = 1e30F;  // as llama.cpp's conversion writes it

/// One value of each layer, as an array.
std::vector<uint32_t> each_layer(const ModelSpec& spec, const std::function<int(const LayerSpec&)>& value) {
  std::vector<uint32_t> values;
  for (const LayerSpec& layer : spec.layers) values.push_back(static_cast<uint32_t>(value(layer)));
  return values;
}

const LayerSpec* first_of_kind(const ModelSpec& spec, LayerKind kind) {
  const auto found = std::ranges::find(spec.layers, kind, &LayerSpec::kind);
  return found == spec.layers.end() ? nullptr : &*found;
}

float theta_of(const ModelSpec& spec, const LayerSpec& layer) {
  return static_cast<float>(spec.ropes[static_cast<size_t>(layer.rope)].theta);
}

void add_heads(const ModelSpec& spec, GgufPairs& pairs, const std::function<std::string(const char*)>& key) {
  const LayerSpec* sliding = first_of_kind(spec, LayerKind::kSliding);
  const LayerSpec* full = first_of_kind(spec, LayerKind::kFull);
  if (full == nullptr) full = sliding;
  if (sliding == nullptr) sliding = full;
  pairs.add(key("attention.head_count"), static_cast<uint32_t>(sliding->q_heads));
  pairs.add(key("attention.head_count_kv"), each_layer(spec, [](const LayerSpec& l) { return l.kv_heads; }));
  for (const char* name : {"attention.key_length", "attention.value_length", "rope.dimension_count"}) {
    pairs.add(key(name), static_cast<uint32_t>(full->head_dim));
    pairs.add(key(name) + "_swa", static_cast<uint32_t>(sliding->head_dim));
  }
  pairs.add(key("rope.freq_base"), theta_of(spec, *full));
  pairs.add(key("rope.freq_base_swa"), theta_of(spec, *sliding));
  pairs.add(key("attention.sliding_window"), static_cast<uint32_t>(std::max(sliding->window, 1)));
  std::vector<bool> pattern;
  for (const LayerSpec& layer : spec.layers) pattern.push_back(!layer.is_full());
  pairs.add(key("attention.sliding_window_pattern"), pattern);
}

}  // namespace

void add_model(const ModelSpec& spec, GgufPairs& pairs) {
  if (spec.architecture != "gemma4_text")
    throw Error(ErrorCode::kFailed,
                fmt::format("writing GGUF: expected a Gemma 4 model, got {}", spec.architecture));
  const auto key = [](const char* name) { return fmt::format("gemma4.{}", name); };
  pairs.add("general.architecture", "gemma4");
  pairs.add(key("block_count"), static_cast<uint32_t>(spec.layer_count()));
  pairs.add(key("context_length"), static_cast<uint32_t>(spec.context_length));
  pairs.add(key("embedding_length"), static_cast<uint32_t>(spec.hidden_size));
  pairs.add(key("embedding_length_per_layer_input"), static_cast<uint32_t>(spec.ple_dim));
  pairs.add(key("feed_forward_length"), each_layer(spec, [](const LayerSpec& l) { return l.ffn_dim; }));
  add_heads(spec, pairs, key);
  const auto shared = std::ranges::count_if(
      spec.layers, [&, l = 0](const LayerSpec& layer) mutable { return layer.kv_source != l++; });
  pairs.add(key("attention.shared_kv_layers"), static_cast<uint32_t>(shared));
  pairs.add(key("attention.layer_norm_rms_epsilon"), static_cast<float>(spec.rms_eps));
  if (spec.logit_softcap != 0)
    pairs.add(key("final_logit_softcapping"), static_cast<float>(spec.logit_softcap));
  if (const auto& moe = spec.layers.front().moe) {
    pairs.add(key("expert_count"), static_cast<uint32_t>(moe->experts));
    pairs.add(key("expert_used_count"), static_cast<uint32_t>(moe->top_k));
    pairs.add(key("expert_feed_forward_length"), static_cast<uint32_t>(moe->ffn_dim));
  }
}

std::vector<float> rope_divisors(const ModelSpec& spec) {
  const LayerSpec* full = first_of_kind(spec, LayerKind::kFull);
  if (full == nullptr) return {};
  std::vector<float> divisors;
  for (const float frequency : spec.ropes[static_cast<size_t>(full->rope)].inv_freq)
    divisors.push_back(frequency > 0 ? 1 : kNoRotation);
  return divisors;
}

void add_sampling(const GenerationConfig& generation, GgufPairs& pairs) {
  if (generation.temperature) pairs.add("general.sampling.temp", static_cast<float>(*generation.temperature));
  if (generation.top_k) pairs.add("general.sampling.top_k", static_cast<uint32_t>(*generation.top_k));
  if (generation.top_p) pairs.add("general.sampling.top_p", static_cast<float>(*generation.top_p));
}

void add_vocabulary(const text::Vocabulary& vocabulary, GgufPairs& pairs) {
  const bool merges = vocabulary.scores.empty();
  pairs.add("tokenizer.ggml.model", merges ? "gemma4" : "llama");
  pairs.add("tokenizer.ggml.pre", merges ? "gemma4" : "default");
  pairs.add("tokenizer.ggml.tokens", vocabulary.pieces);
  // llama.cpp asks for scores in either case and uses them in the second.
  const std::vector<float> none(vocabulary.pieces.size(), 0.0F);
  pairs.add("tokenizer.ggml.scores", std::span<const float>(merges ? none : vocabulary.scores));
  std::vector<int32_t> types;
  for (const text::TokenType type : vocabulary.types) types.push_back(static_cast<int32_t>(type));
  pairs.add("tokenizer.ggml.token_type", types);
  if (merges) {
    std::vector<std::string> texts;
    for (const text::Merge& merge : vocabulary.merges)
      texts.push_back(vocabulary.pieces[static_cast<size_t>(merge.left)] + " " +
                      vocabulary.pieces[static_cast<size_t>(merge.right)]);
    pairs.add("tokenizer.ggml.merges", texts);
  }
  const auto add_id = [&](const char* name, std::optional<int32_t> id) {
    if (id) pairs.add(fmt::format("tokenizer.ggml.{}_token_id", name), static_cast<uint32_t>(*id));
  };
  add_id("bos", vocabulary.bos);
  add_id("eos", vocabulary.eos);
  add_id("unknown", vocabulary.unknown);
  add_id("padding", vocabulary.padding);
  pairs.add("tokenizer.ggml.add_bos_token", !vocabulary.prefix.empty());
  pairs.add("tokenizer.ggml.add_eos_token", !vocabulary.suffix.empty());
  pairs.add("tokenizer.ggml.add_space_prefix", vocabulary.add_space_prefix);
}

}  // namespace facet
