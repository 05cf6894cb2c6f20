#include "support/golden.h"

#include <algorithm>
#include <cctype>

#include "formats/json.h"
#include "support/paths.h"

namespace facet::testing {

std::vector<std::string> golden_names() {
  std::vector<std::string> names;
  std::error_code missing;
  for (const auto& entry : std::filesystem::directory_iterator(shared_dir() / "golden", missing))
    if (entry.is_directory()) names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

Golden load_golden(const std::string& name) {
  Golden golden;
  golden.directory = shared_dir() / "golden" / name;
  const Json expected = parse_json_file(golden.directory / "expected.json");
  expected.at("prompt_ids").get_to(golden.prompt_ids);
  expected.at("greedy_ids").get_to(golden.greedy_ids);
  expected.at("mean_nll").get_to(golden.mean_nll);
  return golden;
}

std::string test_name(const std::string& golden) {
  std::string name;
  for (const char c : golden)
    if (std::isalnum(static_cast<unsigned char>(c)) != 0) name += c;
  return name;
}

}  // namespace facet::testing
