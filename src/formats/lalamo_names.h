// lalamo's tensor names.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace facet {

/// What part of a fused matrix a tensor is.
enum class LalamoPart : uint8_t { kWhole, kQuery, kKey, kValue, kUp, kGate };

struct LalamoName {
  std::vector<std::string> paths;  ///< without "decoder.", one for each generation that differs
  LalamoPart part = LalamoPart::kWhole;
  int layer = -1;
};

/// Where lalamo keeps "model.layers.3.mlp.up_proj.weight". No paths for a name that it does not have.
[[nodiscard]] LalamoName lalamo_name(std::string_view canonical);

}  // namespace facet
