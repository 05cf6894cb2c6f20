#include "formats/lalamo_config.h"

#include <fmt/format.h>

#include <cmath>
#include <utility>

#include "base/error.h"
#include "formats/hf_config.h"
#include "formats/rope_table.h"
#include "model/spec_limits.h"

namespace facet {
namespace {

/// The first of `keys` that `object` has.
template <typename... Keys>
std::optional<JsonView> first_of(const JsonView& object, Keys... keys) {
  std::optional<JsonView> found;
  ((found = object.find(keys)) || ...);
  return found;
}

JsonView decoder_of(const JsonView& config) {
  if (const auto decoder = config.find("decoder_config")) return *decoder;
  return config.at("model_config").at("model_config");
}

/// One array element a layer.
std::optional<JsonView> layer_array(const JsonView& decoder, std::string_view key, int layers) {
  auto array = decoder.find(key);
  if (array && array->array_size() != static_cast<size_t>(layers))
    throw array->unexpected(fmt::format("an array of {} (one a layer)", layers));
  return array;
}

/// Norms are RMS norms with one epsilon and one offset of the weight in the whole model.
class NormRules {
 public:
  void check(const JsonView& norm) {
    const double epsilon = norm.at("epsilon").positive_number();
    const double offset = norm.number_or("scale_offset", 0);
    if (offset != 0 && offset != 1) throw norm.at("scale_offset").unexpected("null, 0 or 1");
    if (norm.boolean_or("subtract_mean", false)) throw norm.at("subtract_mean").unexpected("false");
    if (!norm.boolean_or("has_scale", true)) throw norm.at("has_scale").unexpected("true");
    if (const auto biases = first_of(norm, "has_biases", "use_bias"))
      if (biases->boolean()) throw biases->unexpected("false");
    if (!rules_) rules_ = {epsilon, offset};
    if (epsilon != rules_->first)
      throw norm.at("epsilon").unexpected(fmt::format("{} as in the others", rules_->first));
    if (offset != rules_->second)
      throw bad_input(fmt::format("{}: scale_offset: expected {} as in the others, got {}", norm.where(),
                                  rules_->second, offset));
  }
  [[nodiscard]] double epsilon() const { return rules_->first; }
  [[nodiscard]] bool plus_one() const { return rules_->second == 1; }

 private:
  std::optional<std::pair<double, double>> rules_;
};

/// What is read layer by layer.
class LayerReader {
 public:
  LayerReader(const JsonView& decoder, LalamoModel& model)
      : decoder_(decoder), transformer_(decoder.at("transformer_config")), model_(model) {}

  void read() {
    const JsonView layers = transformer_.at("layer_configs");
    const auto count = static_cast<int64_t>(layers.array_size());
    if (count < 1 || count > kMaxLayers)
      throw layers.unexpected(fmt::format("an array of 1 to {}", kMaxLayers));
    count_ = static_cast<int>(count);
    hidden_dims_ = layer_array(decoder_, "hidden_dims", count_);
    kv_sources_ = layer_array(decoder_, "kv_shared_layer_sources", count_);
    norms_.check(transformer_.at("output_norm_config"));
    for (int l = 0; l < count_; ++l) read_layer(l, layers.at(static_cast<size_t>(l)));
    ModelSpec& spec = model_.spec;
    spec.rms_eps = norms_.epsilon();
    spec.norm_weight_plus_one = norms_.plus_one();
    if (narrow_rotations_ > 0)
      model_.warnings.push_back(
          fmt::format("{}: {} layers give the rotation a smaller head than they have; read as Gemma 4's "
                      "proportional rotation over the whole head",
                      transformer_.where(), narrow_rotations_));
  }

 private:
  void read_layer(int index, const JsonView& config) {
    LayerSpec& layer = model_.spec.layers.emplace_back();
    for (const char* key : {"post_mixer_norm_config", "pre_mlp_norm_config", "post_mlp_norm_config"})
      norms_.check(norm_of(config, key));
    norms_.check(first_of(config, "pre_mixer_norm_config", "pre_attention_norm_config")
                     .value_or(transformer_.at("output_norm_config")));
    read_attention(config.at("mixer_config"), layer);
    check_mlp(config.at("mlp_config"));
    layer.ffn_dim = hidden_dim(index, config);
    layer.kv_source = kv_source(index, config);
    layer.rope = rope(config, layer);
    model_.layer_scalars.push_back(layer_scalar(config));
  }

  static JsonView norm_of(const JsonView& config, std::string_view key) {
    if (key == "post_mixer_norm_config")
      if (const auto older = config.find("post_attention_norm_config")) return *older;
    return config.at(key);
  }

  void read_attention(const JsonView& mixer, LayerSpec& layer) {
    if (const auto type = mixer.find("type"))
      if (type->string() != "AttentionConfig") throw type->unexpected("\"AttentionConfig\"");
    layer.q_heads = mixer.at("num_heads").integer(1, kMaxHeads);
    layer.kv_heads = mixer.at("num_groups").integer(1, kMaxHeads);
    layer.head_dim = mixer.at("head_dim").integer(1, kMaxHeadDim);
    const auto window = mixer.find("sliding_window_size");
    layer.kind = window ? LayerKind::kSliding : LayerKind::kFull;
    layer.window = window ? window->integer(1, kMaxContext) : 0;
    layer.v_norm = normalizes_values(mixer);
    norms_.check(mixer.at("query_norm_config"));
    if (const auto key_norm = mixer.find("key_norm_config"))
      norms_.check(*key_norm);  // a shared layer has none
    for (const char* key : {"has_sinks", "has_qkv_biases", "has_qkvg_biases", "has_out_biases", "has_gate"})
      if (mixer.boolean_or(key, false)) throw mixer.at(key).unexpected("false");
    for (const char* key : {"gate_projection_config", "logit_soft_cap"})
      if (const auto other = mixer.find(key)) throw other->unexpected("null");
    if (!mixer.boolean_or("is_causal", true)) throw mixer.at("is_causal").unexpected("true");

    const auto scale = mixer.find("scale");
    const double value =
        scale ? scale->positive_number() : 1 / std::sqrt(static_cast<double>(layer.head_dim));
    if (model_.spec.layers.size() == 1) model_.spec.attention_scale = value;
    if (value != model_.spec.attention_scale)
      throw bad_input(fmt::format("{}: scale: expected {} as in layer 0, got {}", mixer.where(),
                                  model_.spec.attention_scale, value));
  }

  /// normalize_values: true, or a norm without weights in value_norm_config.
  static bool normalizes_values(const JsonView& mixer) {
    const auto norm = mixer.find("value_norm_config");
    if (!norm) return mixer.boolean_or("normalize_values", false);
    if (norm->boolean_or("has_scale", false)) throw norm->at("has_scale").unexpected("false");
    return true;
  }

  static void check_mlp(const JsonView& mlp) {
    if (const auto type = mlp.find("type"))
      if (type->string() != "DenseMLPConfig") throw type->unexpected("\"DenseMLPConfig\"");
    const JsonView activation = mlp.at("activation");
    const bool gelu = activation.is_string() ? activation.string() == "gelu"
                                             : activation.at("type").string() == "GELU" &&
                                                   activation.boolean_or("approximate", true);
    if (!gelu) throw activation.unexpected("GELU in its tanh approximation");
    for (const char* key : {"has_up_biases", "has_down_biases"})
      if (mlp.boolean_or(key, false)) throw mlp.at(key).unexpected("false");
    for (const char* key : {"gate_clipping", "up_clipping"})
      if (const auto clipping = mlp.find(key)) throw clipping->unexpected("null");
  }

  int hidden_dim(int index, const JsonView& config) const {
    if (hidden_dims_) return hidden_dims_->at(static_cast<size_t>(index)).integer(1, kMaxWidth);
    if (const auto own = config.find("hidden_dim")) return own->integer(1, kMaxWidth);
    return transformer_.at("hidden_dim").integer(1, kMaxWidth);
  }

  int kv_source(int index, const JsonView& config) const {
    std::optional<JsonView> source;
    if (kv_sources_) {
      const JsonView element = kv_sources_->at(static_cast<size_t>(index));
      if (!element.is_null()) source = element;
    } else {
      source = first_of(config, "kv_source_layer_index", "kv_source_layer");
    }
    const int layer = source ? source->integer(0, kMaxLayers) : index;
    const bool shares = config.at("mixer_config").boolean_or("is_kv_sharing", layer != index);
    if (shares != (layer != index))
      throw bad_input(
          fmt::format("{}: mixer_config.is_kv_sharing: expected {}, as the layer reads the keys of layer "
                      "{}, got {}",
                      config.where(), layer != index, layer, shares));
    return layer;
  }

  int rope(const JsonView& config, const LayerSpec& layer) {
    auto parameters = config.find("rope_config");
    if (!parameters)
      parameters = transformer_.find(layer.is_full() ? "global_rope_config" : "local_rope_config");
    if (!parameters) parameters = transformer_.at("global_rope_config");
    const JsonView base = parameters->at("base");
    const double theta = base.positive_number();
    if (theta > kMaxRopeTheta) throw base.unexpected(fmt::format("at most {}", kMaxRopeTheta));
    double divisor = 1;
    if (const auto type = parameters->find("type")) {
      if (type->string() == "LinearScalingRoPEConfig")
        divisor = parameters->at("scaling_factor").positive_number();
      else if (type->string() != "UnscaledRoPEConfig" && type->string() != "PartialRoPEConfig")
        throw type->unexpected(
            "\"UnscaledRoPEConfig\", \"PartialRoPEConfig\" or \"LinearScalingRoPEConfig\"");
    }
    RopeSpec table = RopeSpec::make(theta, layer.head_dim, rotated_dim(config, *parameters, layer) / 2);
    for (float& frequency : table.inv_freq) frequency = static_cast<float>(frequency / divisor);
    return rope_index(model_.spec, std::move(table));
  }

  /// How many channels of a head turn.
  int rotated_dim(const JsonView& config, const JsonView& parameters, const LayerSpec& layer) {
    auto dim = config.at("mixer_config").find("partial_rope_dim");
    if (!dim) dim = first_of(parameters, "partial_rotary_dim", "partial_rope_dim");
    if (!dim && layer.is_full()) dim = transformer_.find("global_rope_dim");
    if (dim) return dim->integer(1, layer.head_dim);
    if (const auto factor = parameters.find("partial_rotary_factor")) {
      if (factor->positive_number() > 1) throw factor->unexpected("a number above 0, at most 1");
      return static_cast<int>(factor->number() * layer.head_dim);
    }
    const int head_dim = parameters.integer_or("head_dim", layer.head_dim, 1, layer.head_dim);
    if (head_dim < layer.head_dim) ++narrow_rotations_;
    return head_dim;
  }

  /// Per layer, in one of three places; the flag for the whole model (has_layer_scalar of the flat
  /// generation) says nothing of single layers, so it is left to the tensors.
  static std::optional<bool> layer_scalar(const JsonView& config) {
    if (const auto own = first_of(config, "has_post_layer_scalar", "has_layer_scalar")) return own->boolean();
    const auto ple = config.find("ple_config");
    const auto nested = ple ? ple->find("has_layer_scalar") : std::nullopt;
    return nested ? std::optional(nested->boolean()) : std::nullopt;
  }

  JsonView decoder_;
  JsonView transformer_;
  LalamoModel& model_;
  int count_ = 0;
  std::optional<JsonView> hidden_dims_;
  std::optional<JsonView> kv_sources_;
  NormRules norms_;
  int narrow_rotations_ = 0;
};

void read_embedding(const JsonView& decoder, ModelSpec& spec) {
  const JsonView embedding = decoder.at("embedding_config");
  if (const auto type = embedding.find("type"))
    if (type->string().find("TiedEmbeddingConfig") == std::string::npos ||
        type->string().find("Untied") != std::string::npos)
      throw type->unexpected("a tied embedding (a head of its own is not supported)");
  if (const auto scale = embedding.find("logit_scale"))
    if (scale->number() != 1) throw scale->unexpected("null or 1");
  spec.vocab_size = decoder.at("vocab_size").integer(1, kMaxVocabulary);
  const auto scale = embedding.find("input_scale");
  spec.embed_scale = scale ? scale->positive_number() : 1;
  spec.logit_softcap = embedding.number_or("logit_soft_cap", 0);
}

/// Per-layer embeddings: ple_* beside the layers, else ple_model_config.
void read_per_layer_embeddings(const JsonView& decoder, ModelSpec& spec) {
  const auto nested = decoder.find("ple_model_config");
  const auto value = [&](std::string_view flat, std::string_view inner) -> std::optional<JsonView> {
    if (auto own = decoder.find(flat)) return own;
    return nested ? nested->find(inner) : std::nullopt;
  };
  const auto dim = value("ple_dim", "ple_dim");
  spec.ple_dim = dim ? dim->integer(0, kMaxWidth) : 0;
  if (spec.ple_dim == 0) return;
  const auto scale = [&](std::string_view flat, std::string_view inner) {
    const auto found = value(flat, inner);
    return found ? found->positive_number() : (nested ? *nested : decoder).at(nested ? inner : flat).number();
  };
  spec.ple_embed_scale = scale("ple_embed_scale", "ple_embed_scale");
  spec.ple_projection_scale = scale("ple_projection_scale", "model_projection_scale");
  spec.ple_combination_scale = scale("ple_combination_scale", "input_scale");
  const auto vocabulary = value("ple_vocab_size", "ple_vocab_size");
  spec.ple_vocab_size = vocabulary ? vocabulary->integer(1, kMaxVocabulary) : spec.vocab_size;
  if (const auto layers = nested ? nested->find("num_layers") : std::nullopt)
    if (layers->integer() != spec.layer_count())
      throw layers->unexpected(fmt::format("{} (the layers)", spec.layer_count()));
}

/// The longest position: context_length, else what the rotations were made for.
int context_length(const JsonView& decoder) {
  const JsonView transformer = decoder.at("transformer_config");
  if (const auto length = transformer.find("context_length")) return length->integer(1, kMaxContext);
  const JsonView rope = transformer.at("layer_configs").at(size_t{0}).at("rope_config");
  return rope.at("max_sequence_length").integer(1, kMaxContext);
}

GenerationConfig read_generation(const JsonView& config) {
  auto section = config.find("generation_config");
  if (!section)
    if (const auto model = config.find("model_config")) section = model->find("generation_config");
  if (!section) return {};
  GenerationConfig generation = read_generation_config(*section);
  generation.eos_ids = token_id_list(*section, "stop_token_ids");
  return generation;
}

}  // namespace

bool is_lalamo(const JsonView& config) {
  if (config.find("decoder_config")) return true;
  const auto model = config.find("model_config");
  return model && model->is_object() && model->find("model_config");
}

LalamoModel read_lalamo_config(const JsonView& config) {
  LalamoModel model;
  const JsonView decoder = decoder_of(config);
  ModelSpec& spec = model.spec;
  if (const auto norm = decoder.find("embedding_norm_config")) throw norm->unexpected("null");
  read_embedding(decoder, spec);
  spec.hidden_size = decoder.at("transformer_config").at("model_dim").integer(1, kMaxWidth);
  LayerReader(decoder, model).read();
  read_per_layer_embeddings(decoder, spec);
  spec.context_length = context_length(decoder);
  spec.architecture = spec.layers.front().v_norm ? "gemma4_text" : "gemma3_text";
  model.generation = read_generation(config);
  spec.eos_ids = model.generation.eos_ids;
  return model;
}

}  // namespace facet
