// The few rotary tables of a model, shared by its layers.
#pragma once

#include "model/spec.h"

namespace facet {

/// The index in spec.ropes of `rope`, which is added when no table there is equal.
int rope_index(ModelSpec& spec, RopeSpec rope);

}  // namespace facet
