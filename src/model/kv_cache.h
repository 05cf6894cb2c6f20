// Keys and values of many sequences: rings for sliding layers, pages of 64 tokens for full ones.
#pragma once

#include <cstdint>
#include <vector>

#include "backend/backend.h"
#include "model/spec.h"

namespace facet {

struct KvOptions {
  KvType type = KvType::kBF16;
  int sequences = 1;   ///< slots
  int context = 4096;  ///< most tokens of one sequence
  int chunk = 512;     ///< most tokens of one sequence in one step
  int pages = 0;       ///< pages of 64 tokens for the full layers of all sequences; 0: enough for all
};

/// Owns the cache and the page tables. A sliding layer's ring holds window + chunk tokens, so that a step may
/// write a whole chunk before any of its queries looks back. Full layers draw pages from a common pool; a fork
/// shares them by reference count; a partly filled one is copied before either side writes to it.
class KvCache {
 public:
  /// Throws Error{kDevice} when there is not enough memory.
  KvCache(const ModelSpec& spec, Backend& backend, const KvOptions& options);

  /// A free sequence slot, or −1 when all are taken.
  [[nodiscard]] int open() noexcept;
  void close(int sequence) noexcept;
  /// A new sequence with the same content, or −1 when there is no slot for it.
  [[nodiscard]] int fork(int sequence);

  /// Tokens stored.
  [[nodiscard]] int length(int sequence) const noexcept;
  /// Makes room for `count` more tokens and counts them as stored; false (and no change) when the context or
  /// the pool is full. `count` ≤ chunk.
  [[nodiscard]] bool extend(int sequence, int count) noexcept;
  /// Forgets everything from position `length` on. Returns the length kept: `length` itself, or 0 when the
  /// rings no longer hold the window before it.
  int truncate(int sequence, int length) noexcept;

  /// Sends changed page tables to the backend; before a step's first kernel.
  void upload_tables();
  /// The cache that `layer` attends over.
  [[nodiscard]] const KvView& view(int layer) const noexcept;

  [[nodiscard]] int free_pages() const noexcept { return static_cast<int>(free_pages_.size()); }
  [[nodiscard]] int total_pages() const noexcept { return static_cast<int>(references_.size()); }
  [[nodiscard]] int64_t bytes() const noexcept { return bytes_; }
  [[nodiscard]] const KvOptions& options() const noexcept { return options_; }

 private:
  struct Sequence {
    bool open = false;
    int length = 0;
    int written = 0;         // the furthest position ever stored since open(): what the rings have lost
    std::vector<int> pages;  // of the full layers
  };
  struct Table {
    std::vector<int32_t> host;  // [sequences, stride]
    Buffer device;
    int stride = 0;
    bool changed = true;
  };

  void allocate_layer(const LayerSpec& layer, int64_t pages, const Table& table, KvView& view);
  void append_page(int sequence) noexcept;
  void copy_page(int from, int to, bool full);
  void drop_page(int page) noexcept;

  const ModelSpec& spec_;
  Backend& backend_;
  KvOptions options_;
  int ring_window_ = 0;  // the largest window: what truncate must find intact
  Table ring_table_;
  Table full_table_;
  std::vector<Sequence> sequences_;
  std::vector<int> free_pages_;
  std::vector<int> references_;   // [pages]
  std::vector<KvView> views_;     // [layers]
  std::vector<Buffer> memory_;
  int64_t bytes_ = 0;
};

}  // namespace facet
