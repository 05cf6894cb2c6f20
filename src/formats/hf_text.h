// What the families' readers of config.json share. Internal to hf_config.
#pragma once

#include <vector>

#include "formats/json.h"
#include "model/spec.h"

namespace facet::hf {

/// The family's reader: `text` holds the text model's keys. Not validated; token ids are not read.
[[nodiscard]] ModelSpec gemma3_spec(const JsonView& text);
[[nodiscard]] ModelSpec gemma4_spec(const JsonView& text);

/// Every sixth layer attends fully unless the config says otherwise.
constexpr int kDefaultPattern = 6;

/// layer_types, or every `period`-th layer attends fully.
[[nodiscard]] std::vector<LayerKind> layer_kinds(const JsonView& text, int layers, int period);

/// Refuses what changes the math and that no Gemma text model sets.
void refuse_other_math(const JsonView& text);

struct RopeParameters {
  double theta = 0;          ///< 0, before reading: the config must give it
  double rotary_factor = 1;  ///< of the pairs, from the first on
  double divisor = 1;        ///< of the frequencies: longer contexts by position interpolation
};

/// {rope_theta, rope_type, partial_rotary_factor, factor}; an absent rope_theta is as in `rope`.
[[nodiscard]] RopeParameters read_rope(const JsonView& parameters, RopeParameters rope);

/// rope_parameters of layers of `kind`: keyed by layer type, or one object for all; `fallback`
/// when absent.
[[nodiscard]] RopeParameters rope_parameters(const JsonView& text, LayerKind kind, RopeParameters fallback);

/// Points the layers of each kind to their table.
void resolve_ropes(ModelSpec& spec, const RopeParameters& sliding, const RopeParameters& full);

}  // namespace facet::hf
