// lalamo's config.json → ModelSpec: three generations of one exporter, told apart by what is there.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "formats/generation_config.h"
#include "formats/json.h"
#include "model/spec.h"

namespace facet {

struct LalamoModel {
  /// Complete but for has_layer_scalar (see layer_scalars) and thus not validated.
  ModelSpec spec;
  /// What the config says of each layer's scalar; nothing where only the tensors can tell.
  std::vector<std::optional<bool>> layer_scalars;
  GenerationConfig generation;
  std::vector<std::string> warnings;
};

/// Whether a config.json is lalamo's.
[[nodiscard]] bool is_lalamo(const JsonView& config);

/// Reads a Gemma's configuration:
///  - current (0.7 and later): the model under decoder_config, rotation in each layer's rope_config;
///  - nested (0.6): under model_config.model_config, with kv_source_layer and partial_rotary_dim;
///  - flat (the first exports for uzu): as nested, with hidden_dims, kv_shared_layer_sources, ple_* and
///    has_layer_scalar beside the layers and rotation in transformer_config.
/// A value beside the layers counts before one inside them. Partial rotation is always Gemma 4's proportional
/// one: the first pairs turn, with frequencies over the whole head. Where the config gives the rotation a
/// smaller head instead (exports of May 2026 and later) that is meant, too, and a warning says so.
/// Throws Error{kBadInput} that names the key, what was expected and what is there.
/// Source: lalamo 0.6.14, 0.15 and 0.17 (model_import/model_configs/huggingface/gemma4.py, modules/).
[[nodiscard]] LalamoModel read_lalamo_config(const JsonView& config);

}  // namespace facet
