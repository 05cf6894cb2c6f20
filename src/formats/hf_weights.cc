#include "formats/hf_weights.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "base/error.h"
#include "base/quote.h"

namespace facet {
namespace {

constexpr std::string_view kCanonical = "model.";
constexpr std::array<std::string_view, 4> kHfPrefixes = {"model.", "model.language_model.",
                                                         "language_model.model.", "language_model."};
constexpr std::string_view kWeight = ".weight";

std::string find_prefix(const ShardedSafetensors& files) {
  for (const std::string_view prefix : kHfPrefixes)
    if (files.find(fmt::format("{}embed_tokens.weight", prefix)) != nullptr) return std::string(prefix);
  throw bad_input(fmt::format("{}: expected a tensor model.embed_tokens.weight, got none under any prefix",
                              files.files().front().label()));
}

std::optional<Encoding> float_encoding(DType t) noexcept {
  switch (t) {
    case DType::kF32: return Encoding::kF32;
    case DType::kF16: return Encoding::kF16;
    case DType::kBF16: return Encoding::kBF16;
    default: return std::nullopt;
  }
}

/// Product of all dimensions but the last. No overflow: the reader has checked the whole product, and a
/// tensor with a dimension of 0 is refused before this.
int64_t leading(const std::vector<int64_t>& shape) noexcept {
  int64_t rows = 1;
  for (size_t i = 0; i + 1 < shape.size(); ++i) rows *= shape[i];
  return rows;
}

bool is_matrix_shape(const std::vector<int64_t>& shape) noexcept {
  return shape.size() >= 2 && std::ranges::none_of(shape, [](int64_t dim) { return dim == 0; });
}

}  // namespace

std::optional<MatrixView> float_matrix(const StoredTensor& tensor) {
  const auto encoding = float_encoding(tensor.dtype);
  if (!encoding || !is_matrix_shape(tensor.shape)) return std::nullopt;
  MatrixView view;
  view.encoding = *encoding;
  view.rows = leading(tensor.shape);
  view.cols = tensor.shape.back();
  view.data = tensor.bytes.data();
  return view;
}

std::vector<float> float_vector(const StoredTensor& tensor, std::string_view label) {
  const auto fail = [&](std::string_view message) {
    return bad_input(fmt::format("{}: tensor {}: {}", label, quote(tensor.name), message));
  };
  if (tensor.shape.size() > 1 || !float_encoding(tensor.dtype))
    throw fail(fmt::format("expected one dimension of f32, f16 or bf16, got {} {}", dtype_name(tensor.dtype),
                           shape_text(tensor.shape)));
  std::vector<float> values(static_cast<size_t>(tensor.elements()));
  for (size_t i = 0; i < values.size(); ++i) {
    values[i] = load_float(tensor.dtype, tensor.bytes.data(), static_cast<int64_t>(i));
    if (!std::isfinite(values[i]))
      throw fail(fmt::format("expected finite numbers, got {} at {}", values[i], i));
  }
  return values;
}

HfWeights::HfWeights(ShardedSafetensors files, std::optional<MlxQuantization> quantization)
    : files_(std::move(files)), quantization_(std::move(quantization)), prefix_(find_prefix(files_)) {}

void HfWeights::release(const MatrixView& view) const noexcept {
  for (const SafetensorsFile& file : files_.files())
    file.release({view.data, static_cast<size_t>(view.rows * view.row_bytes())});
}

std::string HfWeights::stored_name(std::string_view name) const {
  if (!name.starts_with(kCanonical)) return std::string(name);
  return prefix_ + std::string(name.substr(kCanonical.size()));
}

Error HfWeights::fail(const StoredTensor& tensor, std::string_view message) const {
  return bad_input(
      fmt::format("{}: tensor {}: {}", files_.label_of(tensor.name), quote(tensor.name), message));
}

/// mlx-lm stores the gate and up rows of experts as two tensors; they are no view of one matrix.
void HfWeights::refuse_split_experts(std::string_view name) const {
  constexpr std::string_view kFused = "experts.gate_up_proj";
  if (!name.ends_with(kFused)) return;
  const std::string stored = stored_name(name);
  const std::string split = stored.substr(0, stored.size() - std::string_view("gate_up_proj").size()) +
                            "switch_glu.gate_proj.weight";
  if (const StoredTensor* tensor = files_.find(split))
    throw fail(*tensor, "expected experts with gate and up in one tensor, got mlx-lm's two: not supported");
}

std::optional<MatrixView> HfWeights::matrix(std::string_view name) const {
  const StoredTensor* tensor = files_.find(stored_name(name));
  if (tensor == nullptr) {
    refuse_split_experts(name);
    return std::nullopt;
  }
  if (tensor->dtype == DType::kU32) return affine(*tensor);
  if (auto view = float_matrix(*tensor)) return view;
  throw fail(*tensor, fmt::format("expected a matrix of f32, f16, bf16 or MLX's u32 codes, got {} {}",
                                  dtype_name(tensor->dtype), shape_text(tensor->shape)));
}

const StoredTensor& HfWeights::companion(const StoredTensor& codes, std::string_view suffix) const {
  const std::string name = codes.name.substr(0, codes.name.size() - kWeight.size()) + std::string(suffix);
  const StoredTensor* tensor = files_.find(name);
  if (tensor == nullptr) throw fail(codes, fmt::format("expected {} beside it, got none", quote(name)));
  return *tensor;
}

MatrixView HfWeights::affine(const StoredTensor& codes) const {
  if (!codes.name.ends_with(kWeight) || !is_matrix_shape(codes.shape))
    throw fail(codes,
               fmt::format("expected a matrix X.weight of codes, got shape {}", shape_text(codes.shape)));
  const std::string_view module = std::string_view(codes.name).substr(0, codes.name.size() - kWeight.size());
  const auto format = quantization_ ? quantization_->format_of(module) : std::nullopt;
  if (!format)
    throw fail(codes, "expected floats, as config.json says no quantization for it, got u32 codes");

  MatrixView view;
  view.encoding = format->bits == 4 ? Encoding::kAffine4 : Encoding::kAffine8;
  view.rows = leading(codes.shape);
  view.cols = codes.shape.back() * (32 / format->bits);  // fits: shape · 4 bytes was checked
  view.group_size = format->group_size;
  view.data = codes.bytes.data();
  if (view.cols % view.group_size != 0)
    throw fail(codes, fmt::format("expected a multiple of the group size {} elements a row, got {}",
                                  view.group_size, view.cols));
  std::vector<int64_t> expected = codes.shape;
  expected.back() = view.cols / view.group_size;
  const StoredTensor& scales = companion(codes, ".scales");
  const StoredTensor& biases = companion(codes, ".biases");
  for (const StoredTensor* part : {&scales, &biases})
    if (part->shape != expected || !float_encoding(part->dtype) || part->dtype != scales.dtype)
      throw fail(*part, fmt::format("expected {} {} for {} bits in groups of {}, got {} {}",
                                    float_encoding(scales.dtype) ? dtype_name(scales.dtype) : "floats",
                                    shape_text(expected), format->bits, format->group_size,
                                    dtype_name(part->dtype), shape_text(part->shape)));
  view.scales = scales.bytes.data();
  view.biases = biases.bytes.data();
  view.scale_dtype = scales.dtype;
  return view;
}

std::optional<std::vector<float>> HfWeights::vector(std::string_view name) const {
  const StoredTensor* tensor = files_.find(stored_name(name));
  if (tensor == nullptr) return std::nullopt;
  return float_vector(*tensor, files_.label_of(tensor->name));
}

}  // namespace facet
