// Writing safetensors, one tensor at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/atomic_file.h"
#include "tensor/dtype.h"

namespace facet {

/// What the header says of a tensor.
struct TensorDeclaration {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;
};

/// Streams a safetensors file: the header first, then the tensors' bytes in the order declared, in pieces of
/// any size, so memory stays that of one piece. The file appears under its name at finish(), whole.
/// Declare wide types before narrow ones to keep every tensor aligned to its type.
class SafetensorsWriter {
 public:
  /// Writes the header. Throws Error{kFailed} when the file cannot be written or the declarations overflow.
  SafetensorsWriter(const std::filesystem::path& path, std::vector<TensorDeclaration> tensors,
                    const std::map<std::string, std::string>& metadata = {});

  /// Appends bytes of tensor `name`, which must be the one whose turn it is; throws Error{kFailed} when it
  /// is not or when they are more than its shape holds.
  void write(std::string_view name, std::span<const std::byte> bytes);

  /// Makes the file visible. Throws Error{kFailed} when a tensor is not complete.
  void finish();

 private:
  /// Moves on past complete (also empty) tensors.
  void skip_complete();

  AtomicFile file_;
  std::vector<TensorDeclaration> tensors_;
  std::vector<uint64_t> sizes_;  // bytes of each
  size_t current_ = 0;
  uint64_t written_ = 0;  // bytes of the current one
};

}  // namespace facet
