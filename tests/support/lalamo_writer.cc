#include "support/lalamo_writer.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <span>

#include "formats/safetensors_writer.h"
#include "model/weights.h"

namespace facet::testing {
namespace {

using nlohmann::json;

std::string rows_of(const Checkpoint& from, const std::string& name) {
  const MatrixView view = from.weights->matrix(name).value();
  return {reinterpret_cast<const char*>(view.data), static_cast<size_t>(view.bytes())};
}

/// Puts a model's tensors together under one generation's names.
class TensorWriter {
 public:
  TensorWriter(const Checkpoint& from, LalamoGeneration generation, LalamoCheckpoint& to)
      : from_(from), generation_(generation), to_(to), prefix_(current() ? "decoder." : "") {}

  void write() {
    const ModelSpec& spec = from_.spec;
    add(current() ? "embedding.embedding.weights" : "embedding.weights", {"model.embed_tokens.weight"});
    norm("transformer.output_norm", "model.norm.weight");
    if (spec.ple_dim > 0) {
      const std::string ple = flat() ? "ple." : "per_layer_embedding.";
      const std::string table = flat()      ? "embed_tokens_per_layer.weights"
                                : current() ? "token_embedding.weights"
                                            : "token_embedding";
      add(ple + table, {"model.embed_tokens_per_layer.weight"});
      linear(ple + (flat() ? "per_layer_model_projection" : "model_projection"),
             {"model.per_layer_model_projection.weight"});
      norm(ple + (flat() ? "per_layer_projection_norm" : "projection_norm"),
           "model.per_layer_projection_norm.weight");
    }
    for (int l = 0; l < spec.layer_count(); ++l) layer(l);
  }

 private:
  [[nodiscard]] bool current() const { return generation_ == LalamoGeneration::kCurrent; }
  [[nodiscard]] bool flat() const { return generation_ == LalamoGeneration::kFlat; }

  void layer(int l) {
    const std::string from = fmt::format("model.layers.{}.", l);
    const std::string to = fmt::format("transformer.layers.{}.", l);
    std::vector<std::string> qkv = {from + "self_attn.q_proj.weight"};
    if (from_.spec.owns_kv(l)) {
      qkv.push_back(from + "self_attn.k_proj.weight");
      qkv.push_back(from + "self_attn.v_proj.weight");
      norm(to + "mixer.key_norm", from + "self_attn.k_norm.weight");
    }
    linear(to + "mixer.qkv_projection", qkv);
    linear(to + "mixer.out_projection", {from + "self_attn.o_proj.weight"});
    norm(to + "mixer.query_norm", from + "self_attn.q_norm.weight");
    linear(to + "mlp.up_projection", {from + "mlp.up_proj.weight", from + "mlp.gate_proj.weight"});
    linear(to + "mlp.down_projection", {from + "mlp.down_proj.weight"});
    norm(to + "pre_mixer_norm", from + "input_layernorm.weight");
    norm(to + "post_mixer_norm", from + "post_attention_layernorm.weight");
    norm(to + "pre_mlp_norm", from + "pre_feedforward_layernorm.weight");
    norm(to + "post_mlp_norm", from + "post_feedforward_layernorm.weight");
    if (from_.spec.ple_dim > 0) {
      linear(to + (flat() ? "ple_gate" : "ple.gate"), {from + "per_layer_input_gate.weight"});
      linear(to + (flat() ? "ple_projection" : "ple.projection"), {from + "per_layer_projection.weight"});
      norm(to + (flat() ? "post_ple_norm" : "ple.norm"), from + "post_per_layer_input_norm.weight");
    }
    vector(to + (flat() ? "layer_scalar" : "post_layer_scalar"), from + "layer_scalar");
  }

  void linear(const std::string& path, const std::vector<std::string>& parts) {
    add(path + (current() ? ".weights.weights" : ".weights"), parts);
  }

  /// Matrices one below the other.
  void add(const std::string& path, const std::vector<std::string>& parts) {
    LalamoTensor tensor;
    int64_t rows = 0;
    for (const std::string& part : parts) {
      tensor.bytes += rows_of(from_, part);
      rows += from_.weights->matrix(part)->rows;
    }
    tensor.shape = {rows, from_.weights->matrix(parts.front())->cols};
    to_.tensors[prefix_ + path] = std::move(tensor);
  }

  void norm(const std::string& path, const std::string& name) { vector(path + ".scales", name); }

  void vector(const std::string& path, const std::string& name) {
    const std::vector<float> values = from_.weights->vector(name).value();
    const auto raw = std::as_bytes(std::span(values));
    to_.tensors[prefix_ + path] = {DType::kF32,
                                   {static_cast<int64_t>(values.size())},
                                   {reinterpret_cast<const char*>(raw.data()), raw.size()}};
  }

  const Checkpoint& from_;
  LalamoGeneration generation_;
  LalamoCheckpoint& to_;
  std::string prefix_;
};

int rotated_dim(const ModelSpec& spec, const LayerSpec& layer) {
  const std::vector<float>& frequencies = spec.ropes[static_cast<size_t>(layer.rope)].inv_freq;
  return 2 * static_cast<int>(std::ranges::count_if(frequencies, [](float f) { return f > 0; }));
}

json norm_config(const ModelSpec& spec) {
  return {{"epsilon", spec.rms_eps},
          {"scale_offset", nullptr},
          {"upcast_mode", "full_layer"},
          {"subtract_mean", false}};
}

/// The layer's rotation where each generation's exporter puts its partial width.
json rope_config(const ModelSpec& spec, const LayerSpec& layer, LalamoGeneration generation) {
  json rope = {{"type", "UnscaledRoPEConfig"},
               {"base", spec.ropes[static_cast<size_t>(layer.rope)].theta},
               {"max_sequence_length", spec.context_length}};
  const int rotated = rotated_dim(spec, layer);
  if (generation == LalamoGeneration::kCurrent) rope["head_dim"] = rotated;
  if (generation == LalamoGeneration::kNested) {
    rope["head_dim"] = layer.head_dim;
    if (rotated < layer.head_dim) rope["partial_rotary_dim"] = rotated;
  }
  return rope;
}

json layer_config(const ModelSpec& spec, int index, LalamoGeneration generation) {
  const LayerSpec& layer = spec.layers[static_cast<size_t>(index)];
  const json norm = norm_config(spec);
  json mixer = {{"type", "AttentionConfig"},
                {"query_norm_config", norm},
                {"key_norm_config", norm},
                {"num_heads", layer.q_heads},
                {"num_groups", layer.kv_heads},
                {"head_dim", layer.head_dim},
                {"is_causal", true},
                {"scale", 1.0},
                {"sliding_window_size", layer.is_full() ? json(nullptr) : json(layer.window)},
                {"logit_soft_cap", nullptr},
                {"has_sinks", false},
                {"has_qkv_biases", false},
                {"has_out_biases", false},
                {"normalize_values", true}};
  if (generation == LalamoGeneration::kCurrent) mixer["is_kv_sharing"] = layer.kv_source != index;
  json config = {{"pre_mixer_norm_config", norm},
                 {"mixer_config", mixer},
                 {"post_mixer_norm_config", norm},
                 {"pre_mlp_norm_config", norm},
                 {"mlp_config",
                  {{"type", "DenseMLPConfig"},
                   {"activation", {{"type", "GELU"}, {"approximate", true}}},
                   {"has_up_biases", false},
                   {"has_down_biases", false}}},
                 {"post_mlp_norm_config", norm}};
  if (generation == LalamoGeneration::kFlat) return config;
  config["hidden_dim"] = layer.ffn_dim;
  config["ple_config"] = {{"ple_dim", spec.ple_dim}, {"norm_config", norm}};
  config["rope_config"] = rope_config(spec, layer, generation);
  const json source = layer.kv_source == index ? json(nullptr) : json(layer.kv_source);
  if (generation == LalamoGeneration::kCurrent) {
    config["has_post_layer_scalar"] = true;
    config["kv_source_layer_index"] = source;
  } else {
    config["ple_config"]["has_layer_scalar"] = true;
    config["kv_source_layer"] = source;
  }
  return config;
}

/// What the flat generation keeps beside the layers.
void flatten(const ModelSpec& spec, json& decoder) {
  json hidden_dims = json::array();
  json sources = json::array();
  for (int l = 0; l < spec.layer_count(); ++l) {
    const LayerSpec& layer = spec.layers[static_cast<size_t>(l)];
    hidden_dims.push_back(layer.ffn_dim);
    sources.push_back(layer.kv_source == l ? json(nullptr) : json(layer.kv_source));
  }
  decoder["hidden_dims"] = hidden_dims;
  decoder["kv_shared_layer_sources"] = sources;
  decoder["has_layer_scalar"] = true;
  decoder["ple_dim"] = spec.ple_dim;
  decoder["ple_embed_scale"] = spec.ple_embed_scale;
  decoder["ple_projection_scale"] = spec.ple_projection_scale;
  decoder["ple_combination_scale"] = spec.ple_combination_scale;
  decoder["ple_norm_config"] = norm_config(spec);
  json& transformer = decoder["transformer_config"];
  for (const LayerSpec& layer : spec.layers) {
    const char* key = layer.is_full() ? "global_rope_config" : "local_rope_config";
    transformer[key] = rope_config(spec, layer, LalamoGeneration::kFlat);
    if (!layer.is_full()) continue;
    transformer["global_rope_dim"] = rotated_dim(spec, layer);
    transformer["global_head_dim"] = layer.head_dim;
  }
}

}  // namespace

json& LalamoCheckpoint::decoder() {
  return config.contains("decoder_config") ? config["decoder_config"]
                                           : config["model_config"]["model_config"];
}

void LalamoCheckpoint::write(const std::filesystem::path& directory) const {
  std::filesystem::create_directories(directory);
  std::ofstream(directory / "config.json") << config.dump(1);
  std::vector<TensorDeclaration> declarations;
  for (const auto& [name, tensor] : tensors) declarations.push_back({name, tensor.dtype, tensor.shape});
  SafetensorsWriter writer(directory / "model.safetensors", declarations, metadata);
  for (const auto& [name, tensor] : tensors) writer.write(name, std::as_bytes(std::span(tensor.bytes)));
  writer.finish();
}

LalamoCheckpoint as_lalamo(const Checkpoint& from, LalamoGeneration generation) {
  LalamoCheckpoint to;
  const ModelSpec& spec = from.spec;
  json decoder = {{"embedding_config",
                   {{"type", "TiedEmbeddingConfig"},
                    {"input_scale", spec.embed_scale},
                    {"logit_soft_cap", spec.logit_softcap}}},
                  {"vocab_size", spec.vocab_size}};
  json& transformer = decoder["transformer_config"];
  transformer = {{"output_norm_config", norm_config(spec)},
                 {"model_dim", spec.hidden_size},
                 {"hidden_dim", spec.layers.front().ffn_dim},
                 {"layer_configs", json::array()}};
  if (generation != LalamoGeneration::kCurrent) transformer["context_length"] = spec.context_length;
  for (int l = 0; l < spec.layer_count(); ++l)
    transformer["layer_configs"].push_back(layer_config(spec, l, generation));
  if (generation == LalamoGeneration::kFlat)
    flatten(spec, decoder);
  else if (spec.ple_dim > 0)
    decoder["ple_model_config"] = {{"ple_dim", spec.ple_dim},
                                   {"num_layers", spec.layer_count()},
                                   {"ple_vocab_size", spec.ple_vocab_size},
                                   {"ple_embed_scale", spec.ple_embed_scale},
                                   {"model_projection_scale", spec.ple_projection_scale},
                                   {"input_scale", spec.ple_combination_scale},
                                   {"norm_config", norm_config(spec)}};
  const json sampling = {
      {"stop_token_ids", spec.eos_ids}, {"temperature", 1.0}, {"top_k", 64}, {"top_p", 0.95}};
  if (generation == LalamoGeneration::kCurrent)
    to.config = {
        {"type", "LanguageModelConfig"}, {"decoder_config", decoder}, {"generation_config", sampling}};
  else
    to.config = {{"model_type", "language_model"},
                 {"model_config", {{"model_config", decoder}, {"generation_config", sampling}}}};
  TensorWriter(from, generation, to).write();
  return to;
}

}  // namespace facet::testing
