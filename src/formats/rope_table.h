// The few rotary tables of a model, shared by its layers.
#pragma once

#include "model/spec.h"

namespace facet {

/// The index in spec.ropes of RopeSpec::make(theta, head_dim, rotated_pairs), which is added when it is new.
int rope_index(ModelSpec& spec, double theta, int head_dim, int rotated_pairs);

}  // namespace facet
