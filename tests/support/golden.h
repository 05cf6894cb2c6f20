// The reference cases that Hugging Face transformers computed.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace facet::testing {

struct Golden {
  std::filesystem::path directory;
  std::vector<int32_t> prompt_ids;
  std::vector<int32_t> greedy_ids;
  double mean_nll = 0;

  [[nodiscard]] std::filesystem::path trace() const { return directory / "trace.safetensors"; }
};

/// Names of all cases in the shared directory, sorted; empty when it is not there.
[[nodiscard]] std::vector<std::string> golden_names();
[[nodiscard]] Golden load_golden(const std::string& name);

/// A gtest name for a case: letters and digits alone.
[[nodiscard]] std::string test_name(const std::string& golden);

}  // namespace facet::testing
