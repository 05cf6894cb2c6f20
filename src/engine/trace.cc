#include "engine/trace.h"

#include <fmt/format.h>

#include <cmath>
#include <cstring>
#include <optional>
#include <string_view>

#include "base/error.h"

namespace facet {
namespace {

constexpr std::string_view kLalamoRoot = "activation_trace.";

/// Reads a token list: [tokens] or [1, tokens], i32 or i64.
std::vector<int32_t> read_ids(const SafetensorsFile& file, const StoredTensor& tensor) {
  const auto where = fmt::format("{}: {}", file.label(), tensor.name);
  const bool batched = tensor.shape.size() == 2 && tensor.shape[0] == 1;
  if (tensor.shape.size() != 1 && !batched)
    throw bad_input(fmt::format("{}: expected shape [tokens], got {}", where, shape_text(tensor.shape)));
  if (tensor.dtype != DType::kI32 && tensor.dtype != DType::kI64 && tensor.dtype != DType::kU32)
    throw bad_input(fmt::format("{}: expected i32 or i64, got {}", where, dtype_name(tensor.dtype)));
  std::vector<int32_t> ids(static_cast<size_t>(tensor.elements()));
  if (ids.empty()) throw bad_input(fmt::format("{}: there are no tokens", where));
  const size_t width = dtype_size(tensor.dtype);
  for (size_t i = 0; i < ids.size(); ++i) {
    int64_t id = 0;
    std::memcpy(&id, tensor.bytes.data() + i * width, width);  // little-endian: the low half first
    if (width == 4) id = static_cast<int32_t>(id);
    if (id < 0 || id > INT32_MAX) throw bad_input(fmt::format("{}: token id {} out of range", where, id));
    ids[i] = static_cast<int32_t>(id);
  }
  return ids;
}

/// Reads an activation of `tokens` rows; a leading batch axis of 1 is dropped, trailing axes are one width.
Activation read_activation(const SafetensorsFile& file, const StoredTensor& tensor, size_t tokens) {
  const auto where = fmt::format("{}: {}", file.label(), tensor.name);
  const bool floating =
      tensor.dtype == DType::kF32 || tensor.dtype == DType::kBF16 || tensor.dtype == DType::kF16;
  if (!floating)
    throw bad_input(fmt::format("{}: expected f32, bf16 or f16, got {}", where, dtype_name(tensor.dtype)));
  const bool batched = tensor.shape.size() >= 3 && tensor.shape[0] == 1 && tokens != 1;
  const size_t axis = batched ? 1 : 0;
  if (tensor.shape.size() < axis + 2 || tensor.shape[axis] != static_cast<int64_t>(tokens))
    throw bad_input(
        fmt::format("{}: expected shape [{}, width], got {}", where, tokens, shape_text(tensor.shape)));
  Activation a;
  a.width = tensor.elements() / static_cast<int64_t>(tokens);
  a.values.resize(static_cast<size_t>(tensor.elements()));
  for (size_t i = 0; i < a.values.size(); ++i) {
    a.values[i] = load_float(tensor.dtype, tensor.bytes.data(), static_cast<int64_t>(i));
    if (std::isnan(a.values[i])) throw bad_input(fmt::format("{}: NaN at element {}", where, i));
  }
  return a;
}

/// The module that a lalamo trace means. `layer_results.N.activation_trace.X` and `layer_results.N.outputs`.
struct LalamoName {
  std::string name;                       // Hugging Face's
  std::vector<std::string> derived_from;  // or a sum of such
};

std::optional<LalamoName> from_lalamo(std::string_view name) {
  if (name == "logits" || name == "activation_trace.logits") return LalamoName{"logits", {}};
  if (!name.starts_with(kLalamoRoot)) return std::nullopt;
  name.remove_prefix(kLalamoRoot.size());
  if (name == "output_norm") return LalamoName{"model.norm", {}};
  constexpr std::string_view kLayers = "layer_results.";
  if (!name.starts_with(kLayers)) return std::nullopt;
  name.remove_prefix(kLayers.size());
  const size_t dot = name.find('.');
  if (dot == 0 || dot > 4 || name.find_first_not_of("0123456789") != dot) return std::nullopt;
  const int layer = std::stoi(std::string(name.substr(0, dot)));
  name.remove_prefix(dot + 1);
  const std::string prefix = fmt::format("model.layers.{}", layer);
  const std::string input = layer == 0 ? "model.embed_tokens" : fmt::format("model.layers.{}", layer - 1);
  if (name == "outputs") return LalamoName{prefix, {}};
  if (!name.starts_with(kLalamoRoot)) return std::nullopt;
  name.remove_prefix(kLalamoRoot.size());
  if (name == "inputs") return LalamoName{prefix + ".inputs", {input}};
  if (name == "mlp_inputs")
    return LalamoName{prefix + ".mlp_inputs", {input, prefix + ".post_attention_layernorm"}};
  constexpr std::pair<std::string_view, std::string_view> kModules[] = {
      {"pre_mixer_norm", ".input_layernorm"},
      {"mixer", ".self_attn"},
      {"post_mixer_norm", ".post_attention_layernorm"},
      {"pre_mlp_norm", ".pre_feedforward_layernorm"},
      {"mlp", ".mlp"},
      {"post_mlp_norm", ".post_feedforward_layernorm"},
  };
  for (const auto& [lalamo, module] : kModules)
    if (name == lalamo) return LalamoName{prefix + std::string(module), {}};
  return std::nullopt;
}

void add(Trace& trace, const SafetensorsFile& file, const StoredTensor& tensor, LalamoName name) {
  Activation a = read_activation(file, tensor, trace.input_ids.size());
  a.derived_from = std::move(name.derived_from);
  if (!trace.activations.emplace(name.name, std::move(a)).second)
    throw bad_input(fmt::format("{}: {}: '{}' is there twice", file.label(), tensor.name, name.name));
}

}  // namespace

Trace read_trace(const std::filesystem::path& path) {
  return read_trace(SafetensorsFile(path));
}

Trace read_trace(const SafetensorsFile& file) {
  const StoredTensor* ids = file.find("input_ids");
  const bool lalamo = ids == nullptr;
  if (lalamo) ids = file.find("activation_trace.token_ids");
  if (ids == nullptr)
    throw bad_input(fmt::format(
        "{}: expected a trace with input_ids (or lalamo's activation_trace.token_ids)", file.label()));
  Trace trace;
  trace.input_ids = read_ids(file, *ids);
  for (const StoredTensor& tensor : file.tensors()) {
    if (&tensor == ids) continue;
    if (lalamo && tensor.name.ends_with("token_positions")) continue;
    // Nothing is skipped in silence: a name that is not understood is kept, and reported as such.
    std::optional<LalamoName> name = lalamo ? from_lalamo(tensor.name) : std::nullopt;
    add(trace, file, tensor, name ? std::move(*name) : LalamoName{tensor.name, {}});
  }
  return trace;
}

void TraceRecorder::record(const std::string& name, std::span<const float> values, int64_t /*rows*/,
                           int64_t width) {
  Activation& a = activations_[name];
  a.width = width;
  a.values.insert(a.values.end(), values.begin(), values.end());
  last_size_ = values.size();
}

std::span<const float> TraceRecorder::anchor(const std::string& name) {
  if (reference_ == nullptr) return {};
  const auto found = reference_->activations.find(name);
  if (found == reference_->activations.end()) return {};
  // The rows recorded last, if the reference has them at all: another model's trace may be smaller.
  const size_t end = activations_[name].values.size();
  const Activation& ref = found->second;
  if (ref.width != activations_[name].width || end > ref.values.size()) return {};
  return {ref.values.data() + end - last_size_, last_size_};
}

}  // namespace facet
