#include "support/paths.h"

#include <cstdlib>
#include <stdexcept>
#include <string>

namespace facet::testing {

std::filesystem::path shared_dir() {
  const char* override_dir = std::getenv("FACET_SHARED_DIR");
  return override_dir != nullptr ? override_dir : FACET_SHARED_DIR;
}

std::filesystem::path data_dir() {
  return FACET_TEST_DATA;
}

std::filesystem::path models_dir() {
  return FACET_MODELS_DIR;
}

TemporaryDirectory::TemporaryDirectory() {
  std::string name = (std::filesystem::temp_directory_path() / "facet-test-XXXXXX").string();
  if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("mkdtemp failed: " + name);
  path_ = name;
}

TemporaryDirectory::~TemporaryDirectory() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

}  // namespace facet::testing
