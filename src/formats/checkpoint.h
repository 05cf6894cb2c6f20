// Opening a checkpoint, whatever its format: untrusted bytes end here.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "formats/generation_config.h"
#include "model/spec.h"
#include "model/weight_source.h"

namespace facet {

struct Checkpoint {
  ModelSpec spec;  ///< validated
  std::unique_ptr<WeightSource> weights;
  GenerationConfig generation;
  std::optional<std::filesystem::path> tokenizer_file;  ///< tokenizer.json, or the GGUF file itself
  std::string format;                        ///< for people: "Hugging Face bf16", "MLX 4-bit group 64"
  std::vector<std::filesystem::path> files;  ///< that hold the weights
  uint64_t bytes = 0;                        ///< of those files
  std::vector<std::string> warnings;         ///< one line each
};

/// Opens a checkpoint: a directory, a file (its directory's config.json goes with it), or org/name in the
/// Hugging Face hub cache. The format is told by content. Reads configs and tensor headers alone; weights
/// stay mapped and are read when used. Throws Error{kBadInput}: one line with what, where, expected and got.
[[nodiscard]] Checkpoint open_checkpoint(const std::string& model);

}  // namespace facet
