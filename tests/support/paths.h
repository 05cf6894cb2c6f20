// Where the tests find their data.
#pragma once

#include <filesystem>
#include <string_view>

namespace facet::testing {

/// The reference data beside the checkout: goldens and tokenizer texts. $FACET_SHARED_DIR overrides.
[[nodiscard]] std::filesystem::path shared_dir();
/// The project's own test data, tests/data.
[[nodiscard]] std::filesystem::path data_dir();
/// The models that ship with the project.
[[nodiscard]] std::filesystem::path models_dir();
/// A fresh directory under the system's temporary one, removed with the object.
class TemporaryDirectory {
 public:
  TemporaryDirectory();
  ~TemporaryDirectory();
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  [[nodiscard]] const std::filesystem::path& path() const noexcept { return path_; }
  [[nodiscard]] std::filesystem::path operator/(std::string_view name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

}  // namespace facet::testing
