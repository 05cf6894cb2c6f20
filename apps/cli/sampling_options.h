// Sampling on the command line.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cli/command.h"
#include "engine/sampler.h"
#include "formats/generation_config.h"

namespace facet::cli {

/// What was given on the command line; the rest comes from the model's generation_config.json.
struct SamplingOptions {
  std::optional<float> temperature, top_p, min_p, repeat_penalty, frequency_penalty, presence_penalty;
  std::optional<int> top_k;
  std::optional<uint64_t> seed;
  bool greedy = false;
  std::vector<std::string> stop;
  bool ignore_eos = false;

  void declare(CLI::App& app);
  /// Flag, then the model's own default, then neutral values; a random seed when none was given.
  [[nodiscard]] SamplingParams params(const GenerationConfig& defaults) const;
};

}  // namespace facet::cli
