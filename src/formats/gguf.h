// The GGUF container, version 3: metadata, tensor descriptions, aligned tensor data.
// Specification: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/mapped_file.h"
#include "formats/gguf_metadata.h"
#include "tensor/matrix_view.h"

namespace facet {

/// A tensor as the file describes it: a view, checked to lie inside and to overlap no other.
struct GgufTensor {
  std::string name;
  Encoding encoding = Encoding::kF32;
  std::vector<int64_t> shape;  ///< outermost first, as everywhere here; the file has them innermost first
  std::span<const std::byte> bytes;
};

/// The number that files use for an encoding (ggml_type), or nothing when GGUF has no such one.
[[nodiscard]] std::optional<uint32_t> ggml_type(Encoding encoding) noexcept;

class GgufFile {
 public:
  static constexpr uint64_t kDefaultAlignment = 32;

  /// Whether `bytes` begin as a GGUF file does.
  [[nodiscard]] static bool is_gguf(std::span<const std::byte> bytes) noexcept;

  /// Maps `path` and reads metadata and descriptions; no tensor data. Throws Error{kBadInput}.
  explicit GgufFile(const std::filesystem::path& path);
  /// Takes over a mapping.
  explicit GgufFile(MappedFile file);
  /// Reads from memory that outlives this.
  GgufFile(std::span<const std::byte> bytes, std::string_view label);

  [[nodiscard]] const GgufMetadata& metadata() const noexcept { return metadata_; }
  /// All tensors, sorted by name.
  [[nodiscard]] const std::vector<GgufTensor>& tensors() const noexcept { return tensors_; }
  [[nodiscard]] const GgufTensor* find(std::string_view name) const noexcept;
  [[nodiscard]] const std::string& label() const noexcept { return metadata_.label(); }
  [[nodiscard]] uint64_t file_bytes() const noexcept { return bytes_.size(); }

 private:
  void parse();

  std::optional<MappedFile> file_;
  std::span<const std::byte> bytes_;
  GgufMetadata metadata_;
  std::vector<GgufTensor> tensors_;
};

}  // namespace facet
