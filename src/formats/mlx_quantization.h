// MLX's "quantization" section of config.json.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "formats/json.h"

namespace facet {

/// w = scale·q + bias for each group of `group_size` elements of a row; q has `bits` bits.
struct AffineFormat {
  int bits = 0;        ///< 4 or 8
  int group_size = 0;  ///< 32, 64 or 128
};

class MlxQuantization {
 public:
  /// Reads "quantization" or "quantization_config" of a config.json, or nothing when it has neither. Throws
  /// Error{kBadInput} on another method or mode, or sizes that cannot be served.
  [[nodiscard]] static std::optional<MlxQuantization> read(const JsonView& config);

  /// The format of module `path` ("model.layers.0.mlp.up_proj"): its own, else the default; nothing when the
  /// config says false.
  [[nodiscard]] std::optional<AffineFormat> format_of(std::string_view path) const;
  [[nodiscard]] const AffineFormat& default_format() const noexcept { return default_; }

 private:
  AffineFormat default_;
  std::map<std::string, std::optional<AffineFormat>, std::less<>> modules_;
};

}  // namespace facet
