// Weights as the CPU kernels stream them: tiles of 16 rows, repacked once at load.
#pragma once

#include "backend/backend.h"
#include "backend/cpu/kernels.h"
#include "base/thread_pool.h"

namespace facet::cpu {

/// A matrix in tiles, in 2 MiB pages where the system gives them.
class PackedWeight final : public Weight {
 public:
  /// Repacks `stored`, exactly, in parallel. Encodings without a tile of their own are expanded to f32.
  /// Throws Error{kDevice} when memory is short and Error{kBadInput} for shapes that no checkpoint should
  /// have.
  PackedWeight(const MatrixView& stored, ThreadPool& pool);

  [[nodiscard]] const PackedMatrix& matrix() const noexcept { return matrix_; }
  /// Bytes that one product reads.
  [[nodiscard]] int64_t bytes() const noexcept { return bytes_; }

 private:
  Buffer memory_;
  PackedMatrix matrix_;
  int64_t bytes_ = 0;
};

/// A table whose rows are gathered: the mapping itself.
class StoredTable final : public Weight {
 public:
  explicit StoredTable(const MatrixView& view) : Weight(view), stored(view) {}
  const MatrixView stored;
};

/// Zeroed, 64-byte aligned; large blocks are aligned to 2 MiB and ask for pages of that size. Throws
/// Error{kDevice} when there is not enough.
[[nodiscard]] Buffer allocate_pages(size_t bytes);

}  // namespace facet::cpu
