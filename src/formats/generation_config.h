// What a checkpoint suggests for sampling.
#pragma once

#include <optional>
#include <vector>

#include "formats/json.h"

namespace facet {

/// Absent fields are the program's to choose.
struct GenerationConfig {
  std::optional<double> temperature;  ///< ≥ 0
  std::optional<int> top_k;           ///< 0: off
  std::optional<double> top_p;        ///< (0, 1]
  std::vector<int> eos_ids;           ///< the ids that end an answer; empty: as the model's config says
};

/// Reads generation_config.json. Throws Error{kBadInput} on a wrong type or a value out of range.
[[nodiscard]] GenerationConfig read_generation_config(const JsonView& config);

}  // namespace facet
