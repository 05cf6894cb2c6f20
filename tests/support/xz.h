// Reads the compressed test data.
#pragma once

#include <filesystem>
#include <string>

namespace facet::testing {

/// The contents of an .xz file. Throws std::runtime_error.
[[nodiscard]] std::string read_xz(const std::filesystem::path& path);

}  // namespace facet::testing
