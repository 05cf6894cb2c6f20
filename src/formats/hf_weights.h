// Weights of a Hugging Face or MLX checkpoint.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "formats/mlx_quantization.h"
#include "formats/safetensors_shards.h"
#include "model/weight_source.h"

namespace facet {

/// Serves the text model's tensors out of safetensors files. Names in the files may stand under "model."
/// (flat), "model.language_model." (the multimodal wrapper) or "language_model.model." (MLX); towers for
/// images and sound are never asked for. A matrix X.weight of type u32 with X.scales and X.biases is MLX's
/// affine quantization.
class HfWeights final : public WeightSource {
 public:
  /// Throws Error{kBadInput} when the files hold no text model.
  HfWeights(ShardedSafetensors files, std::optional<MlxQuantization> quantization);

  [[nodiscard]] std::optional<MatrixView> matrix(std::string_view name) const override;
  [[nodiscard]] std::optional<std::vector<float>> vector(std::string_view name) const override;
  void release(const MatrixView& view) const noexcept override;
  [[nodiscard]] std::string stored_name(std::string_view name) const override;

  [[nodiscard]] const ShardedSafetensors& files() const noexcept { return files_; }

 private:
  [[nodiscard]] MatrixView affine(const StoredTensor& codes) const;
  [[nodiscard]] const StoredTensor& companion(const StoredTensor& codes, std::string_view suffix) const;
  void refuse_split_experts(std::string_view name) const;
  [[nodiscard]] Error fail(const StoredTensor& tensor, std::string_view message) const;

  ShardedSafetensors files_;
  std::optional<MlxQuantization> quantization_;
  std::string prefix_;  // what the files write for "model."
};

/// The float tensor as a matrix: all dimensions but the last make the rows. Nothing when it is no matrix of
/// f32, f16 or bf16.
[[nodiscard]] std::optional<MatrixView> float_matrix(const StoredTensor& tensor);

/// The float tensor of at most one dimension as f32. Throws Error{kBadInput}, prefixed with `label`, for
/// another one or numbers that are not finite.
[[nodiscard]] std::vector<float> float_vector(const StoredTensor& tensor, std::string_view label);

}  // namespace facet
