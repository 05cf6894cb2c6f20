// What a checkpoint offers the model: tensors under Hugging Face's names, whatever the file calls them.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tensor/matrix_view.h"

namespace facet {

/// Implemented once a format. Names are those of a flat Hugging Face Gemma 4 checkpoint with ".weight":
/// "model.embed_tokens.weight", "model.layers.3.self_attn.q_proj.weight", "model.layers.0.experts.down_proj"
/// (3-d: [experts · out, in]), "model.layers.3.layer_scalar". Views stay valid as long as the source lives.
class WeightSource {
 public:
  virtual ~WeightSource() = default;

  /// The matrix of that name, or nothing when the checkpoint has none. Throws Error{kBadInput} when it is
  /// there but broken (missing scales, a type that cannot be read, a shape that is no matrix).
  [[nodiscard]] virtual std::optional<MatrixView> matrix(std::string_view name) const = 0;

  /// A one-dimensional tensor (a norm, a scalar) as f32 in the order stored, or nothing.
  [[nodiscard]] virtual std::optional<std::vector<float>> vector(std::string_view name) const = 0;

  /// Told that `view` has been copied into a backend: its pages may leave this process's memory until they
  /// are read again. Views stay valid.
  virtual void release(const MatrixView& /*view*/) const noexcept {}

  /// The name the file itself uses, for messages.
  [[nodiscard]] virtual std::string stored_name(std::string_view name) const { return std::string(name); }
};

}  // namespace facet
