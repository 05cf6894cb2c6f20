// Writing GGUF, one tensor at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/atomic_file.h"
#include "formats/gguf_metadata.h"
#include "tensor/matrix_view.h"

namespace facet {

/// Metadata being put together, in the order added. Keys are the caller's and must differ.
class GgufPairs {
 public:
  void add(std::string_view key, std::string_view text);
  void add(std::string_view key, uint32_t value);
  void add(std::string_view key, float value);
  void add(std::string_view key, bool value);
  void add(std::string_view key, std::span<const std::string> texts);
  void add(std::string_view key, std::span<const int32_t> values);
  void add(std::string_view key, std::span<const uint32_t> values);
  void add(std::string_view key, std::span<const float> values);
  void add(std::string_view key, const std::vector<bool>& values);
  // A literal would pick the bool.
  void add(std::string_view key, const char* text) { add(key, std::string_view(text)); }

  [[nodiscard]] uint64_t count() const noexcept { return count_; }
  [[nodiscard]] const std::string& bytes() const noexcept { return bytes_; }

 private:
  void key(std::string_view key, GgufType type);
  template <typename T>
  void array(std::string_view name, GgufType type, std::span<const T> values);

  std::string bytes_;
  uint64_t count_ = 0;
};

struct GgufDeclaration {
  std::string name;
  Encoding encoding = Encoding::kF32;
  std::vector<int64_t> shape;  ///< outermost first
};

/// Streams a GGUF file: everything but the data first, then the tensors' bytes in the order declared, in
/// pieces of any size. The file appears under its name at finish(), whole.
class GgufWriter {
 public:
  /// Throws Error{kFailed} when the file cannot be written, or a declaration has a shape or an encoding that
  /// GGUF cannot hold.
  GgufWriter(const std::filesystem::path& path, const GgufPairs& pairs, std::vector<GgufDeclaration> tensors);

  /// Appends bytes of tensor `name`, whose turn it must be; throws Error{kFailed} otherwise.
  void write(std::string_view name, std::span<const std::byte> bytes);

  /// Makes the file visible. Throws Error{kFailed} when a tensor is not complete.
  void finish();

 private:
  void pad();

  AtomicFile file_;
  std::vector<GgufDeclaration> tensors_;
  std::vector<uint64_t> sizes_;
  size_t current_ = 0;
  uint64_t written_ = 0;   // bytes of the current tensor
  uint64_t position_ = 0;  // bytes of the file
};

}  // namespace facet
