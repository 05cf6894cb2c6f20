// ModelSpec → config.json: the other way of hf_model_spec.
#pragma once

#include <nlohmann/json.hpp>

#include "formats/generation_config.h"
#include "model/spec.h"

namespace facet {

/// The flat text-only configuration ("gemma4_text" or "gemma3_text") that hf_model_spec reads back as `spec`.
/// A Gemma 3's norms are meant as Hugging Face stores them, w − 1, whatever spec.norm_weight_plus_one says.
/// Throws Error{kFailed} for a model that such a file cannot describe.
[[nodiscard]] nlohmann::ordered_json hf_config(const ModelSpec& spec);

/// generation_config.json.
[[nodiscard]] nlohmann::ordered_json hf_generation_config(const ModelSpec& spec,
                                                          const GenerationConfig& generation);

}  // namespace facet
