#include "formats/gguf_weights.h"

#include <fmt/format.h>

#include <cmath>

#include "base/error.h"
#include "base/quote.h"
#include "formats/gguf_names.h"
#include "formats/safetensors.h"

namespace facet {
namespace {

std::optional<DType> float_type(Encoding encoding) noexcept {
  switch (encoding) {
    case Encoding::kF32: return DType::kF32;
    case Encoding::kF16: return DType::kF16;
    case Encoding::kBF16: return DType::kBF16;
    default: return std::nullopt;
  }
}

Error wrong_shape(const GgufFile& file, const GgufTensor& tensor, std::string_view expected) {
  return bad_input(fmt::format("{}: tensor {}: expected {}, got {} {}", file.label(), quote(tensor.name),
                               expected, encoding_name(tensor.encoding), shape_text(tensor.shape)));
}

}  // namespace

std::vector<float> gguf_floats(const GgufFile& file, const GgufTensor& tensor) {
  const auto dtype = float_type(tensor.encoding);
  if (!dtype || tensor.shape.size() != 1)
    throw wrong_shape(file, tensor, "one dimension of f32, f16 or bf16");
  std::vector<float> values(static_cast<size_t>(tensor.shape.front()));
  for (size_t i = 0; i < values.size(); ++i) {
    values[i] = load_float(*dtype, tensor.bytes.data(), static_cast<int64_t>(i));
    if (!std::isfinite(values[i]))
      throw bad_input(fmt::format("{}: tensor {}: expected finite numbers, got {} at {}", file.label(),
                                  quote(tensor.name), values[i], i));
  }
  return values;
}

const GgufTensor* GgufWeights::find(std::string_view name) const {
  const auto stored = gguf_name(name);
  return stored ? file_.find(*stored) : nullptr;
}

std::string GgufWeights::stored_name(std::string_view name) const {
  return gguf_name(name).value_or(std::string(name));
}

std::optional<MatrixView> GgufWeights::matrix(std::string_view name) const {
  const GgufTensor* tensor = find(name);
  if (tensor == nullptr) return std::nullopt;
  if (tensor->shape.size() < 2) throw wrong_shape(file_, *tensor, "a matrix");
  MatrixView view;
  view.encoding = tensor->encoding;
  view.cols = tensor->shape.back();
  view.rows = 1;  // the product fits: the reader has checked the whole tensor's bytes
  for (size_t i = 0; i + 1 < tensor->shape.size(); ++i) view.rows *= tensor->shape[i];
  view.data = tensor->bytes.data();
  return view;
}

std::optional<std::vector<float>> GgufWeights::vector(std::string_view name) const {
  const GgufTensor* tensor = find(name);
  if (tensor == nullptr) return std::nullopt;
  return gguf_floats(file_, *tensor);
}

}  // namespace facet
