#include "formats/lalamo_weights.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "base/error.h"
#include "base/quote.h"
#include "formats/hf_weights.h"
#include "formats/json.h"
#include "formats/lalamo_names.h"

namespace facet {
namespace {

// A matrix is X.weights.weights (current), X.weights, or X itself.
constexpr std::array<std::string_view, 3> kSuffixes = {".weights.weights", ".weights", ""};
constexpr std::array<std::string_view, 2> kLalamoPrefixes = {"decoder.", ""};
constexpr std::string_view kWeights = ".weights";

/// What the companions' names begin with: "X.weights" or "X" before ".scales".
std::string_view matrix_path(std::string_view codes) {
  return codes.ends_with(kWeights) ? codes.substr(0, codes.size() - kWeights.size()) : codes;
}

const StoredTensor* beside(const ShardedSafetensors& files, const StoredTensor& codes,
                           std::string_view part) {
  return files.find(fmt::format("{}.{}", matrix_path(codes.name), part));
}

unsigned code_at(const std::byte* row, int64_t i, bool nibbles) noexcept {
  const auto byte = std::to_integer<unsigned>(row[nibbles ? i / 2 : i]);
  if (!nibbles) return byte;
  return i % 2 == 0 ? byte & 15U : byte >> 4;
}

}  // namespace

LalamoWeights::LalamoWeights(ShardedSafetensors files, ModelSpec spec)
    : files_(std::move(files)), spec_(std::move(spec)) {}

Error LalamoWeights::fail(const StoredTensor& tensor, std::string_view message) const {
  return bad_input(
      fmt::format("{}: tensor {}: {}", files_.label_of(tensor.name), quote(tensor.name), message));
}

const StoredTensor* LalamoWeights::find(std::string_view name) const {
  for (const std::string& path : lalamo_name(name).paths)
    for (const std::string_view prefix : kLalamoPrefixes)
      for (const std::string_view suffix : kSuffixes)
        if (const StoredTensor* tensor = files_.find(fmt::format("{}{}{}", prefix, path, suffix)))
          return tensor;
  return nullptr;
}

std::string LalamoWeights::stored_name(std::string_view name) const {
  if (const StoredTensor* tensor = find(name)) return tensor->name;
  const LalamoName known = lalamo_name(name);
  return known.paths.empty() ? std::string(name) : known.paths.front();
}

/// The shape of the stored matrix and the rows in it, out of the model's sizes.
std::optional<LalamoWeights::Expected> LalamoWeights::expected(std::string_view name,
                                                               const StoredTensor& tensor) const {
  const LalamoName stored = lalamo_name(name);
  const int64_t hidden = spec_.hidden_size;
  const auto whole = [](int64_t rows, int64_t cols, bool table = false) {
    return Expected{.rows = rows, .cols = cols, .begin = 0, .count = rows, .table = table};
  };
  if (stored.paths.empty() || stored.layer >= spec_.layer_count()) return std::nullopt;
  if (stored.layer < 0) {
    const int64_t ple_width = int64_t{spec_.layer_count()} * spec_.ple_dim;
    if (name.ends_with("embed_tokens.weight")) return whole(spec_.vocab_size, hidden, true);
    if (name.ends_with("embed_tokens_per_layer.weight")) return whole(spec_.ple_vocab_size, ple_width, true);
    return whole(ple_width, hidden);
  }
  const LayerSpec& layer = spec_.layers[static_cast<size_t>(stored.layer)];
  const int64_t q = int64_t{layer.q_heads} * layer.head_dim;
  const int64_t kv = int64_t{layer.kv_heads} * layer.head_dim;
  // A layer that shares its keys has the rows of q alone, or (0.6) of unused k and v as well.
  const bool q_alone = !spec_.owns_kv(stored.layer) && !tensor.shape.empty() && tensor.shape.front() == q;
  const int64_t qkv = q_alone ? q : q + 2 * kv;
  const int64_t ffn = layer.ffn_dim;
  switch (stored.part) {
    case LalamoPart::kQuery: return Expected{.rows = qkv, .cols = hidden, .begin = 0, .count = q};
    case LalamoPart::kKey:
      return Expected{.rows = qkv, .cols = hidden, .begin = q, .count = q_alone ? 0 : kv};
    case LalamoPart::kValue:
      return Expected{.rows = qkv, .cols = hidden, .begin = q + kv, .count = q_alone ? 0 : kv};
    case LalamoPart::kUp: return Expected{.rows = 2 * ffn, .cols = hidden, .begin = 0, .count = ffn};
    case LalamoPart::kGate: return Expected{.rows = 2 * ffn, .cols = hidden, .begin = ffn, .count = ffn};
    case LalamoPart::kWhole: break;
  }
  if (name.ends_with("o_proj.weight")) return whole(hidden, q);
  if (name.ends_with("down_proj.weight")) return whole(hidden, ffn);
  if (name.ends_with("per_layer_projection.weight")) return whole(hidden, spec_.ple_dim);
  return whole(spec_.ple_dim, hidden);  // per_layer_input_gate
}

std::optional<MatrixView> LalamoWeights::matrix(std::string_view name) const {
  const StoredTensor* tensor = find(name);
  if (tensor == nullptr) return std::nullopt;
  const auto e = expected(name, *tensor);
  if (!e || e->count == 0) return std::nullopt;
  check_layout(*tensor, *e);
  if (tensor->dtype == DType::kU8) return affine(*tensor, *e).row_slice(e->begin, e->count);
  const auto view = float_matrix(*tensor);
  if (!view || tensor->shape.size() != 2 || view->rows != e->rows || view->cols != e->cols)
    throw fail(*tensor, fmt::format("expected f32, f16 or bf16 [{}, {}] or u8 codes, got {} {}", e->rows,
                                    e->cols, dtype_name(tensor->dtype), shape_text(tensor->shape)));
  return view->row_slice(e->begin, e->count);
}

MatrixView LalamoWeights::affine(const StoredTensor& codes, const Expected& e) const {
  MatrixView view;
  view.rows = e.rows;
  view.cols = e.cols;
  view.data = codes.bytes.data();
  const std::vector<int64_t>& shape = codes.shape;
  const bool fits = shape.size() == 2 && shape[0] == e.rows && (shape[1] == e.cols || shape[1] * 2 == e.cols);
  if (!fits)
    throw fail(codes, fmt::format("expected codes [{}, {}] of 4 bits or [{}, {}] of 8, got {}", e.rows,
                                  e.cols / 2, e.rows, e.cols, shape_text(shape)));
  view.encoding = shape[1] == e.cols ? Encoding::kAffine8 : Encoding::kAffine4;

  const StoredTensor* scales = beside(files_, codes, "scales");
  if (scales == nullptr) throw fail(codes, "expected scales beside it, got none");
  const bool groups = float_matrix(*scales) && scales->shape.size() == 2 && scales->shape[0] == e.rows &&
                      scales->shape[1] <= e.cols && e.cols % scales->shape[1] == 0;
  if (!groups)
    throw fail(*scales, fmt::format("expected floats [{}, a divisor of {}], got {} {}", e.rows, e.cols,
                                    dtype_name(scales->dtype), shape_text(scales->shape)));
  view.group_size = static_cast<int>(e.cols / scales->shape[1]);
  if (view.encoding == Encoding::kAffine4 && view.group_size % 2 != 0)
    throw fail(*scales, fmt::format("expected groups of an even size, got {}", view.group_size));
  set_biases(codes, *scales, view);
  return view;
}

/// Biases beside the codes, zero points, or the middle of the range when the matrix says it is symmetric.
void LalamoWeights::set_biases(const StoredTensor& codes, const StoredTensor& scales,
                               MatrixView& view) const {
  const StoredTensor* biases = beside(files_, codes, "deq_biases");
  if (biases == nullptr) biases = beside(files_, codes, "biases");
  const StoredTensor* zero_points = beside(files_, codes, "zero_points");
  if (biases != nullptr) {
    if (biases->shape != scales.shape || biases->dtype != scales.dtype)
      throw fail(*biases,
                 fmt::format("expected {} {} as its scales, got {} {}", dtype_name(scales.dtype),
                             shape_text(scales.shape), dtype_name(biases->dtype), shape_text(biases->shape)));
    view.scales = scales.bytes.data();
    view.biases = biases->bytes.data();
    view.scale_dtype = scales.dtype;
    return;
  }
  if (zero_points == nullptr && !declared_symmetric(codes))
    throw fail(codes, "expected biases, deq_biases or zero_points beside it, or a symmetric spec, got none");
  const OwnedAffine& owned = convert(codes, scales, zero_points, view);
  view.scales = std::as_bytes(std::span(owned.scales)).data();
  view.biases = std::as_bytes(std::span(owned.biases)).data();
  view.scale_dtype = DType::kF32;
}

const LalamoWeights::OwnedAffine& LalamoWeights::convert(const StoredTensor& codes,
                                                         const StoredTensor& scales,
                                                         const StoredTensor* zero_points,
                                                         const MatrixView& view) const {
  const int64_t groups = view.cols / view.group_size;
  const bool nibbles = view.encoding == Encoding::kAffine4;
  const int64_t row_bytes = nibbles ? (groups + 1) / 2 : groups;
  if (zero_points != nullptr) {
    const std::vector<int64_t> shape = {view.rows, row_bytes};
    if (zero_points->dtype != DType::kU8 || zero_points->shape != shape)
      throw fail(*zero_points, fmt::format("expected u8 {}, got {} {}", shape_text(shape),
                                           dtype_name(zero_points->dtype), shape_text(zero_points->shape)));
  }
  const std::scoped_lock lock(mutex_);
  const auto [slot, fresh] = owned_.try_emplace(codes.name);
  OwnedAffine& owned = slot->second;
  if (!fresh) return owned;
  owned.scales.reserve(static_cast<size_t>(view.rows * groups));
  owned.biases.reserve(static_cast<size_t>(view.rows * groups));
  for (int64_t row = 0; row < view.rows; ++row) {
    for (int64_t group = 0; group < groups; ++group) {
      const float scale = load_float(scales.dtype, scales.bytes.data(), row * groups + group);
      const unsigned zero = zero_points != nullptr
                                ? code_at(zero_points->bytes.data() + row * row_bytes, group, nibbles)
                                : (nibbles ? 8U : 128U);
      owned.scales.push_back(scale);
      owned.biases.push_back(-scale * static_cast<float>(zero));
    }
  }
  return owned;
}

std::optional<std::string_view> LalamoWeights::spec_text(const StoredTensor& tensor) const {
  const std::string key = fmt::format("{}.spec", matrix_path(tensor.name));
  for (const SafetensorsFile& file : files_.files())
    if (const auto found = file.metadata().find(key); found != file.metadata().end()) return found->second;
  return std::nullopt;
}

/// A linear layer is stored [out, in]. A table is stored [vocabulary, width]; lalamo looks at it as a layer
/// from token to vector and calls that layout input_output.
void LalamoWeights::check_layout(const StoredTensor& tensor, const Expected& e) const {
  const auto text = spec_text(tensor);
  if (!text) return;
  const Json json =
      parse_json(*text, fmt::format("{}: {}.spec", files_.label_of(tensor.name), matrix_path(tensor.name)));
  const JsonView spec(
      json, fmt::format("{}: {}.spec", files_.label_of(tensor.name), quote(matrix_path(tensor.name))));
  const JsonView type = spec.at("type");
  if (type.string() != "MLXSpec" && type.string() != "IntSpec" && type.string() != "FullPrecisionSpec")
    throw type.unexpected("\"MLXSpec\", \"IntSpec\" or \"FullPrecisionSpec\"");
  if (!e.table && spec.string_or("layout", "output_input") != "output_input")
    throw spec.at("layout").unexpected("\"output_input\"");
}

bool LalamoWeights::declared_symmetric(const StoredTensor& codes) const {
  const auto text = spec_text(codes);
  if (!text) return false;
  const Json json = parse_json(*text, "spec");
  return JsonView(json, "spec").boolean_or("is_symmetric", false);
}

std::optional<std::vector<float>> LalamoWeights::vector(std::string_view name) const {
  const StoredTensor* tensor = find(name);
  if (tensor == nullptr) return std::nullopt;
  return float_vector(*tensor, files_.label_of(tensor->name));
}

}  // namespace facet
