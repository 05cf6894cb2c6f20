// Weights of a GGUF file.
#pragma once

#include "formats/gguf.h"
#include "model/weight_source.h"

namespace facet {

class GgufWeights final : public WeightSource {
 public:
  explicit GgufWeights(GgufFile file) : file_(std::move(file)) {}

  [[nodiscard]] std::optional<MatrixView> matrix(std::string_view name) const override;
  [[nodiscard]] std::optional<std::vector<float>> vector(std::string_view name) const override;
  [[nodiscard]] std::string stored_name(std::string_view name) const override;

  [[nodiscard]] const GgufFile& file() const noexcept { return file_; }

 private:
  [[nodiscard]] const GgufTensor* find(std::string_view name) const;

  GgufFile file_;
};

/// A one-dimensional f32, f16 or bf16 tensor as f32. Throws Error{kBadInput} for another one or numbers that
/// are not finite.
[[nodiscard]] std::vector<float> gguf_floats(const GgufFile& file, const GgufTensor& tensor);

}  // namespace facet
