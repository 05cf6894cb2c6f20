// Files that tests make, safetensors built from parts among them.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <span>
#include <string>
#include <string_view>

#include "support/paths.h"

namespace facet::testing {

inline void write_file(const std::filesystem::path& path, std::string_view content) {
  std::ofstream out(path, std::ios::binary);
  out.write(content.data(), static_cast<std::streamsize>(content.size()));
  out.close();
  ASSERT_TRUE(out) << path;
}

inline std::string read_file(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  EXPECT_TRUE(in) << path;
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

/// The 8 bytes of a header's length.
inline std::string length_bytes(uint64_t length) {
  std::string bytes(8, '\0');
  std::memcpy(bytes.data(), &length, 8);
  return bytes;
}

/// A safetensors file with this header text and these many zero bytes of data.
inline std::string safetensors(std::string_view header, size_t data_bytes = 0) {
  return length_bytes(header.size()) + std::string(header) + std::string(data_bytes, '\0');
}

inline std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}

inline std::filesystem::path golden(std::string_view name) {
  return shared_dir() / "golden" / name;
}

}  // namespace facet::testing
