#include "formats/gguf_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <numbers>

#include "base/error.h"
#include "base/quote.h"
#include "formats/gguf_weights.h"
#include "formats/rope_table.h"
#include "formats/safetensors.h"
#include "model/spec_limits.h"

namespace facet {
namespace {

constexpr int kGemma3Pattern = 6;
constexpr double kGemma3SlidingTheta = 1e4;
constexpr int kGemma3HeadDim = 256;  // of every Gemma 3 but the 27B
// rope_freqs holds 1e30 for the pairs that do not turn.
constexpr float kNoRotationDivisor = 1e20F;

/// Reads keys under the architecture's prefix.
class Keys {
 public:
  Keys(const GgufMetadata& metadata, std::string architecture)
      : metadata_(metadata), architecture_(std::move(architecture)) {}

  [[nodiscard]] std::string name(std::string_view key) const {
    return fmt::format("{}.{}", architecture_, key);
  }
  [[nodiscard]] const GgufMetadata& metadata() const noexcept { return metadata_; }

  [[nodiscard]] std::optional<int> find_integer(std::string_view key, int64_t low, int64_t high) const {
    return metadata_.integer(name(key), low, high);
  }
  [[nodiscard]] int integer(std::string_view key, int64_t low, int64_t high) const {
    return metadata_.required(name(key), find_integer(key, low, high));
  }
  [[nodiscard]] double number(std::string_view key) const {
    return metadata_.required(name(key), metadata_.number(name(key)));
  }
  [[nodiscard]] double number_or(std::string_view key, double fallback) const {
    return metadata_.number(name(key)).value_or(fallback);
  }
  [[nodiscard]] std::vector<int> per_layer(std::string_view key, size_t layers, int64_t low,
                                           int64_t high) const {
    return metadata_.required(name(key), metadata_.integers(name(key), layers, low, high));
  }
  [[nodiscard]] double theta(std::string_view key, double fallback) const {
    const double value = number_or(key, fallback);
    if (value <= 0 || value > kMaxRopeTheta)
      throw metadata_.unexpected(name(key), fmt::format("a number above 0, at most {}", kMaxRopeTheta),
                                 fmt::format("{}", value));
    return value;
  }

 private:
  const GgufMetadata& metadata_;
  std::string architecture_;
};

/// The rows of a table that must be there.
int table_rows(const GgufFile& file, std::string_view name) {
  const GgufTensor* tensor = file.find(name);
  if (tensor == nullptr)
    throw bad_input(fmt::format("{}: expected a tensor {}, got none", file.label(), name));
  if (tensor->shape.size() != 2 || tensor->shape[0] > kMaxVocabulary)
    throw bad_input(fmt::format("{}: tensor {}: expected a matrix of at most {} rows, got {}", file.label(),
                                name, kMaxVocabulary, shape_text(tensor->shape)));
  return static_cast<int>(tensor->shape[0]);
}

/// An array of booleans (true: sliding), or n: every n-th layer attends fully.
std::vector<bool> sliding_layers(const Keys& keys, int layers, bool gemma3) {
  const std::string name = keys.name("attention.sliding_window_pattern");
  if (keys.metadata().is_array(name)) return *keys.metadata().booleans(name, static_cast<size_t>(layers));
  auto period = keys.metadata().integer(name, 1, kMaxLayers);
  if (!period && !gemma3) throw keys.metadata().unexpected(name, "a value", "nothing");
  std::vector<bool> sliding(static_cast<size_t>(layers));
  for (int l = 0; l < layers; ++l)
    sliding[static_cast<size_t>(l)] = (l + 1) % period.value_or(kGemma3Pattern) != 0;
  return sliding;
}

/// Keys of both families hold one head size for keys and values.
int head_dim(const Keys& keys, std::string_view key, std::string_view value, std::optional<int> fallback) {
  const auto k = keys.find_integer(key, 1, kMaxHeadDim);
  const auto v = keys.find_integer(value, 1, kMaxHeadDim);
  if (!k && fallback) return *fallback;
  const int dim = keys.integer(key, 1, kMaxHeadDim);
  if (v && *v != dim)
    throw keys.metadata().unexpected(keys.name(value), fmt::format("{} (the keys' size)", dim),
                                     std::to_string(*v));
  return dim;
}

void resolve_layers(const GgufFile& file, const Keys& keys, bool gemma3, ModelSpec& spec) {
  const int layers = keys.integer("block_count", 1, kMaxLayers);
  const auto count = static_cast<size_t>(layers);
  const std::vector<bool> sliding = sliding_layers(keys, layers, gemma3);
  const std::vector<int> q_heads = keys.per_layer("attention.head_count", count, 1, kMaxHeads);
  const std::vector<int> kv_heads = keys.per_layer("attention.head_count_kv", count, 1, kMaxHeads);
  const std::vector<int> ffn = keys.per_layer("feed_forward_length", count, 1, kMaxWidth);
  const int window = keys.integer("attention.sliding_window", 1, kMaxContext);
  const int full_dim = head_dim(keys, "attention.key_length", "attention.value_length", std::nullopt);
  const int sliding_dim = head_dim(keys, "attention.key_length_swa", "attention.value_length_swa", full_dim);
  for (size_t l = 0; l < count; ++l) {
    LayerSpec& layer = spec.layers.emplace_back();
    layer.kind = sliding[l] ? LayerKind::kSliding : LayerKind::kFull;
    layer.head_dim = sliding[l] ? sliding_dim : full_dim;
    layer.window = sliding[l] ? window : 0;
    layer.q_heads = q_heads[l];
    layer.kv_heads = kv_heads[l];
    layer.ffn_dim = ffn[l];
    layer.v_norm = !gemma3;
    layer.has_layer_scalar = file.find(fmt::format("blk.{}.layer_output_scale.weight", l)) != nullptr;
  }
  resolve_kv_sharing(spec, keys.find_integer("attention.shared_kv_layers", 0, kMaxLayers).value_or(0));
  for (size_t l = 0; l < count; ++l) {
    // Without attn_v the keys' projection gives the values, too (attention_k_eq_v).
    const bool owner = spec.owns_kv(static_cast<int>(l));
    spec.layers[l].v_from_k =
        owner && !gemma3 && file.find(fmt::format("blk.{}.attn_v.weight", l)) == nullptr;
  }
}

/// Divides the full layers' frequencies by rope_freqs.weight.
void apply_rope_freqs(const GgufFile& file, RopeSpec& rope) {
  const GgufTensor* tensor = file.find("rope_freqs.weight");
  if (tensor == nullptr) return;
  const std::vector<float> divisors = gguf_floats(file, *tensor);
  if (divisors.size() != rope.inv_freq.size())
    throw bad_input(
        fmt::format("{}: tensor rope_freqs.weight: expected {} elements (half the full layers' head), got {}",
                    file.label(), rope.inv_freq.size(), divisors.size()));
  for (size_t i = 0; i < divisors.size(); ++i) {
    if (divisors[i] <= 0)
      throw bad_input(fmt::format("{}: tensor rope_freqs.weight: expected numbers above 0, got {} at {}",
                                  file.label(), divisors[i], i));
    rope.inv_freq[i] = divisors[i] < kNoRotationDivisor ? rope.inv_freq[i] / divisors[i] : 0;
  }
}

/// Position scaling of the full layers, "linear" in the larger Gemma 3 models.
double position_factor(const Keys& keys) {
  const std::string type_key = keys.name("rope.scaling.type");
  const auto type = keys.metadata().string(type_key);
  if (!type || *type == "none") return 1;
  if (*type != "linear") throw keys.metadata().unexpected(type_key, "none or linear", quote(*type));
  const double factor = keys.number_or("rope.scaling.factor", 1);
  if (factor <= 0)
    throw keys.metadata().unexpected(keys.name("rope.scaling.factor"), "a number above 0",
                                     fmt::format("{}", factor));
  return factor;
}

/// The whole head turns; proportional rotation is rope_freqs' doing.
void check_rotated(const Keys& keys, std::string_view key, int dim) {
  const auto rotated = keys.find_integer(key, 0, INT32_MAX);
  if (rotated && *rotated != dim)
    throw keys.metadata().unexpected(keys.name(key), fmt::format("{} (the head's size)", dim),
                                     std::to_string(*rotated));
}

void resolve_ropes(const GgufFile& file, const Keys& keys, ModelSpec& spec) {
  const double full_theta = keys.theta("rope.freq_base", 1e4);
  const double sliding_theta = keys.theta("rope.freq_base_swa", kGemma3SlidingTheta);
  const double factor = position_factor(keys);
  for (LayerSpec& layer : spec.layers) {
    const bool full = layer.is_full();
    check_rotated(keys, full ? "rope.dimension_count" : "rope.dimension_count_swa", layer.head_dim);
    RopeSpec rope = RopeSpec::make(full ? full_theta : sliding_theta, layer.head_dim, layer.head_dim / 2);
    if (full) {
      apply_rope_freqs(file, rope);
      for (float& frequency : rope.inv_freq) frequency = static_cast<float>(frequency / factor);
    }
    layer.rope = rope_index(spec, std::move(rope));
  }
}

void resolve_experts(const GgufFile& file, const Keys& keys, ModelSpec& spec) {
  const int experts = keys.find_integer("expert_count", 0, kMaxExperts).value_or(0);
  if (experts == 0) return;
  MoeSpec moe;
  moe.experts = experts;
  moe.top_k = keys.integer("expert_used_count", 1, experts);
  moe.ffn_dim = keys.integer("expert_feed_forward_length", 1, kMaxWidth);
  for (size_t l = 0; l < spec.layers.size(); ++l)
    if (file.find(fmt::format("blk.{}.ffn_gate_inp.weight", l)) != nullptr) spec.layers[l].moe = moe;
}

void resolve_per_layer_embeddings(const GgufFile& file, const Keys& keys, ModelSpec& spec) {
  spec.ple_dim = keys.find_integer("embedding_length_per_layer_input", 0, kMaxWidth).value_or(0);
  if (spec.ple_dim == 0) return;
  spec.ple_vocab_size = table_rows(file, "per_layer_token_embd.weight");
  spec.ple_embed_scale = std::sqrt(static_cast<double>(spec.ple_dim));
  spec.ple_projection_scale = 1 / std::sqrt(static_cast<double>(spec.hidden_size));
  spec.ple_combination_scale = 1 / std::numbers::sqrt2;
}

/// Gemma 3 scales scores by query_pre_attn_scalar^-½, which no key holds: it is the head's size, except in
/// the 27B, whose heads are smaller and whose scalar is hidden_size / heads.
double gemma3_attention_scale(const Keys& keys, const ModelSpec& spec) {
  const LayerSpec& layer = spec.layers.front();
  if (const auto scale = keys.metadata().number(keys.name("attention.scale"))) return *scale;
  const int scalar = layer.head_dim == kGemma3HeadDim ? layer.head_dim : spec.hidden_size / layer.q_heads;
  return 1 / std::sqrt(static_cast<double>(std::max(scalar, 1)));
}

void check_split(const GgufMetadata& metadata) {
  if (const auto parts = metadata.integer("split.count", 0, INT32_MAX); parts && *parts > 1)
    throw metadata.unexpected("split.count", "a whole file", fmt::format("one of {} parts", *parts));
}

void read_token_ids(const GgufFile& file, ModelSpec& spec) {
  const GgufMetadata& metadata = file.metadata();
  if (const uint64_t tokens = metadata.array_size("tokenizer.ggml.tokens");
      tokens != 0 && tokens != static_cast<uint64_t>(spec.vocab_size))
    throw metadata.unexpected("tokenizer.ggml.tokens",
                              fmt::format("{} (the rows of token_embd)", spec.vocab_size),
                              std::to_string(tokens));
  spec.bos_id = metadata.integer("tokenizer.ggml.bos_token_id", 0, INT32_MAX).value_or(-1);
  spec.pad_id = metadata.integer("tokenizer.ggml.padding_token_id", 0, INT32_MAX).value_or(-1);
  spec.eos_ids = gguf_generation_config(file).eos_ids;
}

}  // namespace

GenerationConfig gguf_generation_config(const GgufFile& file) {
  // Instruct models end a turn with these; files name at most one of them as a stop.
  constexpr std::array<std::string_view, 3> kTurnEnds = {"<end_of_turn>", "<turn|>", "<|tool_response>"};
  const GgufMetadata& metadata = file.metadata();
  GenerationConfig generation;
  for (const char* key :
       {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"})
    if (const auto id = metadata.integer(key, 0, INT32_MAX)) generation.eos_ids.push_back(*id);
  metadata.each_string("tokenizer.ggml.tokens", [&](size_t id, std::string_view text) {
    const bool ends = std::ranges::find(kTurnEnds, text) != kTurnEnds.end();
    const int value = static_cast<int>(std::min<size_t>(id, INT32_MAX));
    if (ends && std::ranges::find(generation.eos_ids, value) == generation.eos_ids.end())
      generation.eos_ids.push_back(value);
  });
  if (const auto temperature = metadata.number("general.sampling.temp")) {
    if (*temperature < 0)
      throw metadata.unexpected("general.sampling.temp", "a number of at least 0",
                                fmt::format("{}", *temperature));
    generation.temperature = temperature;
  }
  generation.top_k = metadata.integer("general.sampling.top_k", 0, INT32_MAX);
  if (const auto top_p = metadata.number("general.sampling.top_p")) {
    if (*top_p <= 0 || *top_p > 1)
      throw metadata.unexpected("general.sampling.top_p", "a number above 0, at most 1",
                                fmt::format("{}", *top_p));
    generation.top_p = top_p;
  }
  return generation;
}

std::string_view gguf_main_encoding(const GgufFile& file) {
  std::map<Encoding, uint64_t> bytes;
  for (const GgufTensor& tensor : file.tensors())
    if (tensor.name.starts_with("blk.")) bytes[tensor.encoding] += tensor.bytes.size();
  const auto most = std::ranges::max_element(bytes, {}, [](const auto& entry) { return entry.second; });
  return most == bytes.end() ? "?" : encoding_name(most->first);
}

ModelSpec gguf_model_spec(const GgufFile& file) {
  constexpr std::string_view kArchitecture = "general.architecture";
  const GgufMetadata& metadata = file.metadata();
  const std::string_view architecture = metadata.required(kArchitecture, metadata.string(kArchitecture));
  const bool gemma3 = architecture == "gemma3";
  if (!gemma3 && architecture != "gemma4")
    throw metadata.unexpected(kArchitecture, "gemma4 or gemma3", quote(architecture));
  check_split(metadata);
  const Keys keys(metadata, std::string(architecture));

  ModelSpec spec;
  spec.architecture = gemma3 ? "gemma3_text" : "gemma4_text";
  spec.hidden_size = keys.integer("embedding_length", 1, kMaxWidth);
  spec.vocab_size = table_rows(file, "token_embd.weight");
  spec.context_length = keys.integer("context_length", 1, kMaxContext);
  spec.rms_eps = keys.number("attention.layer_norm_rms_epsilon");
  spec.logit_softcap = keys.number_or("final_logit_softcapping", 0);
  spec.embed_scale = std::sqrt(static_cast<double>(spec.hidden_size));
  resolve_layers(file, keys, gemma3, spec);
  resolve_ropes(file, keys, spec);
  resolve_experts(file, keys, spec);
  resolve_per_layer_embeddings(file, keys, spec);
  spec.attention_scale = gemma3 ? gemma3_attention_scale(keys, spec) : 1;
  read_token_ids(file, spec);
  validate(spec);
  return spec;
}

}  // namespace facet
