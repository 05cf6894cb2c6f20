#include "formats/gguf_export.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <unordered_map>

#include "base/error.h"

namespace facet {
namespace {

using KeyName = std::function<std::string(const char*)>;

constexpr float kNoRotation = 1e30F;  // as llama.cpp's conversion writes it

/// One value of each layer, as an array.
std::vector<uint32_t> each_layer(const ModelSpec& spec, const std::function<int(const LayerSpec&)>& value) {
  std::vector<uint32_t> values;
  for (const LayerSpec& layer : spec.layers) values.push_back(static_cast<uint32_t>(value(layer)));
  return values;
}

float theta_of(const ModelSpec& spec, const LayerSpec& layer) {
  return static_cast<float>(spec.ropes[static_cast<size_t>(layer.rope)].theta);
}

void add_heads(const ModelSpec& spec, GgufPairs& pairs, const KeyName& key) {
  const LayerSpec* sliding = spec.first_layer(LayerKind::kSliding);
  const LayerSpec* full = spec.first_layer(LayerKind::kFull);
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

/// What both families have. Where a value is one number for all layers in Gemma 3, it is one here, too.
void add_sizes(const ModelSpec& spec, GgufPairs& pairs, const KeyName& key) {
  pairs.add(key("block_count"), static_cast<uint32_t>(spec.layer_count()));
  pairs.add(key("context_length"), static_cast<uint32_t>(spec.context_length));
  pairs.add(key("embedding_length"), static_cast<uint32_t>(spec.hidden_size));
  pairs.add(key("vocab_size"), static_cast<uint32_t>(spec.vocab_size));
  pairs.add(key("attention.layer_norm_rms_epsilon"), static_cast<float>(spec.rms_eps));
  if (spec.logit_softcap != 0)
    pairs.add(key("final_logit_softcapping"), static_cast<float>(spec.logit_softcap));
}

void add_gemma4(const ModelSpec& spec, GgufPairs& pairs, const KeyName& key) {
  pairs.add(key("embedding_length_per_layer_input"), static_cast<uint32_t>(spec.ple_dim));
  pairs.add(key("feed_forward_length"), each_layer(spec, [](const LayerSpec& l) { return l.ffn_dim; }));
  add_heads(spec, pairs, key);
  pairs.add(key("attention.shared_kv_layers"), static_cast<uint32_t>(spec.shared_kv_layers()));
  if (const auto& moe = spec.layers.front().moe) {
    pairs.add(key("expert_count"), static_cast<uint32_t>(moe->experts));
    pairs.add(key("expert_used_count"), static_cast<uint32_t>(moe->top_k));
    pairs.add(key("expert_feed_forward_length"), static_cast<uint32_t>(moe->ffn_dim));
  }
}

/// Every sixth layer attends fully, the sizes are those of the first, and positions of the full layers are
/// divided by one factor: what gemma3 files can say.
void add_gemma3(const ModelSpec& spec, GgufPairs& pairs, const KeyName& key) {
  constexpr int kPattern = 6;
  const LayerSpec& first = spec.layers.front();
  for (int l = 0; l < spec.layer_count(); ++l) {
    const LayerSpec& layer = spec.layers[static_cast<size_t>(l)];
    if (layer.is_full() != ((l + 1) % kPattern == 0) || layer.head_dim != first.head_dim)
      throw Error(ErrorCode::kFailed,
                  "writing GGUF: expected a Gemma 3 whose every sixth layer attends fully");
  }
  const LayerSpec* full = spec.first_layer(LayerKind::kFull);
  if (full == nullptr) full = &first;
  pairs.add(key("feed_forward_length"), static_cast<uint32_t>(first.ffn_dim));
  pairs.add(key("attention.head_count"), static_cast<uint32_t>(first.q_heads));
  pairs.add(key("attention.head_count_kv"), static_cast<uint32_t>(first.kv_heads));
  pairs.add(key("attention.key_length"), static_cast<uint32_t>(first.head_dim));
  pairs.add(key("attention.value_length"), static_cast<uint32_t>(first.head_dim));
  pairs.add(key("attention.sliding_window"), static_cast<uint32_t>(first.window));
  pairs.add(key("rope.freq_base"), theta_of(spec, *full));
  pairs.add(key("rope.freq_base_swa"), theta_of(spec, first));
  const double factor = 1 / static_cast<double>(spec.ropes[static_cast<size_t>(full->rope)].inv_freq.front());
  if (factor != 1) {
    pairs.add(key("rope.scaling.type"), "linear");
    pairs.add(key("rope.scaling.factor"), static_cast<float>(factor));
  }
}

/// Gemma 3 files have scores instead of merges: the sooner a piece is made, the better its score. Runs of
/// spaces are made by merging, too; matched whole they would be spelled with spaces, not "▁".
void score_by_merges(text::Vocabulary& vocabulary) {
  std::unordered_map<std::string_view, size_t> ids;
  ids.reserve(vocabulary.pieces.size());
  for (size_t id = 0; id < vocabulary.pieces.size(); ++id) ids.emplace(vocabulary.pieces[id], id);
  vocabulary.scores.assign(vocabulary.pieces.size(), -static_cast<float>(vocabulary.merges.size()));
  std::vector<bool> made(vocabulary.pieces.size());
  std::string joined;
  for (size_t rank = 0; rank < vocabulary.merges.size(); ++rank) {
    const auto [left, right] = vocabulary.merges[rank];
    joined = vocabulary.pieces[static_cast<size_t>(left)] + vocabulary.pieces[static_cast<size_t>(right)];
    const auto found = ids.find(joined);
    if (found == ids.end() || made[found->second]) continue;
    made[found->second] = true;
    vocabulary.scores[found->second] = -static_cast<float>(rank);
  }
  for (size_t id = 0; id < vocabulary.pieces.size(); ++id)
    if (vocabulary.types[id] == text::TokenType::kUserDefined &&
        vocabulary.pieces[id].starts_with(text::kSpaceMarker))
      vocabulary.types[id] = text::TokenType::kNormal;
}

/// llama.cpp wants a token for each row.
void pad_vocabulary(const ModelSpec& spec, text::Vocabulary& vocabulary) {
  const auto rows = static_cast<size_t>(spec.vocab_size);
  if (vocabulary.pieces.size() > rows)
    throw Error(ErrorCode::kFailed, fmt::format("{}: expected at most {} tokens, the model's rows, got {}",
                                                vocabulary.source, rows, vocabulary.pieces.size()));
  for (size_t id = vocabulary.pieces.size(); id < rows; ++id) {
    vocabulary.pieces.push_back(fmt::format("<pad_{}>", id));
    vocabulary.types.push_back(text::TokenType::kUnused);
    if (!vocabulary.scores.empty()) vocabulary.scores.push_back(vocabulary.scores.back());
  }
}

}  // namespace

void add_model(const ModelSpec& spec, GgufPairs& pairs) {
  const bool gemma3 = spec.architecture == "gemma3_text";
  if (!gemma3 && spec.architecture != "gemma4_text")
    throw Error(ErrorCode::kFailed,
                fmt::format("writing GGUF: expected a Gemma 4 or Gemma 3 model, got {}", spec.architecture));
  const std::string architecture = gemma3 ? "gemma3" : "gemma4";
  const KeyName key = [&](const char* name) { return fmt::format("{}.{}", architecture, name); };
  pairs.add("general.architecture", architecture);
  add_sizes(spec, pairs, key);
  gemma3 ? add_gemma3(spec, pairs, key) : add_gemma4(spec, pairs, key);
}

void add_tokenizer(const ModelSpec& spec, std::optional<text::Vocabulary> vocabulary, GgufPairs& pairs) {
  if (!vocabulary) {
    pairs.add("tokenizer.ggml.model", "none");
    return;
  }
  pad_vocabulary(spec, *vocabulary);
  if (!vocabulary->bos && spec.bos_id >= 0) vocabulary->bos = spec.bos_id;
  if (!vocabulary->eos && !spec.eos_ids.empty()) vocabulary->eos = spec.eos_ids.front();
  if (!vocabulary->padding && spec.pad_id >= 0) vocabulary->padding = spec.pad_id;
  if (spec.architecture == "gemma3_text" && vocabulary->scores.empty()) score_by_merges(*vocabulary);
  add_vocabulary(*vocabulary, pairs);
}

std::vector<float> rope_divisors(const ModelSpec& spec) {
  const LayerSpec* full = spec.first_layer(LayerKind::kFull);
  if (full == nullptr || spec.architecture != "gemma4_text") return {};
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
