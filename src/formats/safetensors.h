// The safetensors format: an 8-byte header length, a JSON header, the tensors' bytes.
// Specification: https://huggingface.co/docs/safetensors
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/mapped_file.h"
#include "tensor/dtype.h"

namespace facet {

/// A tensor as a file stores it: a view, little-endian, row-major, at any alignment.
struct StoredTensor {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;
  std::span<const std::byte> bytes;

  [[nodiscard]] int64_t elements() const noexcept {
    return static_cast<int64_t>(bytes.size() / dtype_size(dtype));
  }
};

/// "[2, 3]", for messages.
[[nodiscard]] std::string shape_text(std::span<const int64_t> shape);

/// The parsed header of one file. Every rule of the format is checked: known types, shapes that match their
/// extents, extents that cover the data without hole or overlap to the last byte.
struct SafetensorsHeader {
  std::vector<StoredTensor> tensors;  // by name
  std::map<std::string, std::string> metadata;
};

/// Parses and checks the header of `file`; the tensors' bytes are views into it and are not read. Throws
/// Error{kBadInput} with `label` (the path) first.
[[nodiscard]] SafetensorsHeader parse_safetensors(std::span<const std::byte> file, std::string_view label);

/// One safetensors file: a mapping with its header.
class SafetensorsFile {
 public:
  /// Maps `path`. Reads the header alone. Throws Error{kBadInput}.
  explicit SafetensorsFile(const std::filesystem::path& path) : SafetensorsFile(MappedFile(path)) {}
  /// Takes over a mapping.
  explicit SafetensorsFile(MappedFile file);
  /// Reads from memory that outlives this.
  SafetensorsFile(std::span<const std::byte> bytes, std::string_view label);

  /// All tensors, sorted by name.
  [[nodiscard]] const std::vector<StoredTensor>& tensors() const noexcept { return header_.tensors; }
  [[nodiscard]] const StoredTensor* find(std::string_view name) const noexcept;
  [[nodiscard]] const std::map<std::string, std::string>& metadata() const noexcept {
    return header_.metadata;
  }
  /// Lets the pages of a tensor's bytes leave this process's memory (MappedFile::release).
  void release(std::span<const std::byte> range) const noexcept {
    if (file_) file_->release(range);
  }
  /// The path, for messages.
  [[nodiscard]] const std::string& label() const noexcept { return label_; }
  [[nodiscard]] uint64_t file_bytes() const noexcept { return file_bytes_; }

 private:
  std::optional<MappedFile> file_;
  std::string label_;
  uint64_t file_bytes_ = 0;
  SafetensorsHeader header_;
};

}  // namespace facet
