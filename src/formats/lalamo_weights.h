// Weights of a lalamo checkpoint of any generation.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"
#include "formats/safetensors_shards.h"
#include "model/spec.h"
#include "model/weight_source.h"

namespace facet {

/// Finds Hugging Face's tensors in lalamo's: q, k and v are rows of one matrix, as are up and gate. Bits and
/// group size follow from the shapes that the model's spec asks for. Codes are u8 as in MLX; where they go
/// with zero points, w = scale·(q − zero point) becomes scale·q + bias with a bias held here, in f32 because
/// the product needs more bits than bf16 has (and so the scales, too: 8 bytes a group).
class LalamoWeights final : public WeightSource {
 public:
  /// `spec` says which shapes to expect; kv_source must be set.
  LalamoWeights(ShardedSafetensors files, ModelSpec spec);

  [[nodiscard]] std::optional<MatrixView> matrix(std::string_view name) const override;
  [[nodiscard]] std::optional<std::vector<float>> vector(std::string_view name) const override;
  [[nodiscard]] std::string stored_name(std::string_view name) const override;

  /// Whether a tensor of that name is there, whatever its shape.
  [[nodiscard]] bool contains(std::string_view name) const { return find(name) != nullptr; }

 private:
  struct Expected {
    int64_t rows = 0;  // of the stored matrix
    int64_t cols = 0;
    int64_t begin = 0;  // of the part that is asked for
    int64_t count = 0;
    bool table = false;  // looked up by row
  };
  struct OwnedAffine {
    std::vector<float> scales;
    std::vector<float> biases;
  };

  [[nodiscard]] const StoredTensor* find(std::string_view name) const;
  [[nodiscard]] std::optional<Expected> expected(std::string_view name, const StoredTensor& tensor) const;
  [[nodiscard]] MatrixView affine(const StoredTensor& codes, const Expected& e) const;
  void set_biases(const StoredTensor& codes, const StoredTensor& scales, MatrixView& view) const;
  [[nodiscard]] const OwnedAffine& convert(const StoredTensor& codes, const StoredTensor& scales,
                                           const StoredTensor* zero_points, const MatrixView& view) const;
  void check_layout(const StoredTensor& tensor, const Expected& e) const;
  [[nodiscard]] bool declared_symmetric(const StoredTensor& codes) const;
  [[nodiscard]] std::optional<std::string_view> spec_text(const StoredTensor& tensor) const;
  [[nodiscard]] Error fail(const StoredTensor& tensor, std::string_view message) const;

  ShardedSafetensors files_;
  ModelSpec spec_;
  mutable std::mutex mutex_;                                       // guards owned_
  mutable std::map<std::string, OwnedAffine, std::less<>> owned_;  // by the codes' name; nodes do not move
};

}  // namespace facet
