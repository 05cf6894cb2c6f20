// GGUF's tensor names for a Gemma's weights.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace facet {

/// "model.layers.3.mlp.up_proj.weight" → "blk.3.ffn_up.weight"; nothing for a name that no Gemma has.
[[nodiscard]] std::optional<std::string> gguf_name(std::string_view canonical);

}  // namespace facet
