// Writes a Gemma 4 checkpoint as lalamo's exporters of three generations do.
#pragma once

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "formats/checkpoint.h"
#include "tensor/dtype.h"

namespace facet::testing {

enum class LalamoGeneration { kCurrent, kNested, kFlat };

struct LalamoTensor {
  DType dtype = DType::kBF16;
  std::vector<int64_t> shape;
  std::string bytes;
};

/// A checkpoint before it is written, for tests to bend.
struct LalamoCheckpoint {
  nlohmann::json config;
  std::map<std::string, LalamoTensor> tensors;
  std::map<std::string, std::string> metadata;

  /// The model's part of the config, which each generation keeps elsewhere.
  nlohmann::json& decoder();
  nlohmann::json& layer(size_t index) { return decoder()["transformer_config"]["layer_configs"][index]; }

  /// Makes config.json and model.safetensors in `directory`.
  void write(const std::filesystem::path& directory) const;
};

/// `from` in the form of `generation`. Its matrices are bf16, as in the goldens.
[[nodiscard]] LalamoCheckpoint as_lalamo(const Checkpoint& from, LalamoGeneration generation);

}  // namespace facet::testing
