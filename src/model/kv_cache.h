// Keys and values of many sequences: rings for sliding layers, pages of 64 tokens for full ones.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "backend/backend.h"
#include "model/spec.h"

namespace facet {

struct KvOptions {
  KvType type = KvType::kBF16;
  int sequences = 1;     ///< slots
  int context = 4096;    ///< most tokens of one sequence
  int chunk = 512;       ///< most tokens of one sequence in one step
  int pages = 0;         ///< pages of 64 tokens for the full layers of all sequences; 0: enough for all
  int shared_pages = 0;  ///< blocks that share() may keep beyond what the sequences themselves need
};

/// 64 tokens of a sequence, [64·i, 64·i + 64): their K and V in every layer. A page is an index into its
/// pool.
struct KvBlock {
  int full_page = -1;
  int ring_page = -1;  ///< −1: the model has no sliding layers
};

/// Owns the cache and the page tables. A sliding layer's ring holds window + chunk tokens, so that a step may
/// write a whole chunk before any of its queries looks back. Full layers and rings draw pages from a pool
/// each. A fork, a shared block and the sequences it is attached to have pages in common by reference count:
/// a partly filled one is copied before it is written to, and a ring that comes round to one takes a fresh
/// one instead.
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

  /// Takes a reference to block `index` of a sequence, its last and partly filled one, too; release() gives
  /// it back. Nothing when the rings no longer hold it.
  [[nodiscard]] std::optional<KvBlock> share(int sequence, int index) noexcept;
  void release(const KvBlock& block) noexcept;
  /// Fills an empty sequence with `length` tokens: those of `blocks`, which begin at position 0 and of which
  /// the last may be used in part.
  void attach(int sequence, std::span<const KvBlock> blocks, int length) noexcept;

  /// Sends changed page tables to the backend; before a step's first kernel.
  void upload_tables();
  /// The cache that `layer` attends over.
  [[nodiscard]] const KvView& view(int layer) const noexcept;

  /// Of the full layers' pool.
  [[nodiscard]] int free_pages() const noexcept { return full_.pool.free(); }
  [[nodiscard]] int total_pages() const noexcept { return full_.pool.total(); }
  /// Of the rings' pool; 0 when no layer slides.
  [[nodiscard]] int free_ring_pages() const noexcept { return rings_.pool.free(); }
  [[nodiscard]] int total_ring_pages() const noexcept { return rings_.pool.total(); }
  /// Memory that one block takes in all layers.
  [[nodiscard]] int64_t block_bytes() const noexcept { return block_bytes(spec_, options_.type); }
  [[nodiscard]] static int64_t block_bytes(const ModelSpec& spec, KvType type) noexcept;
  [[nodiscard]] int64_t bytes() const noexcept { return bytes_; }
  [[nodiscard]] const KvOptions& options() const noexcept { return options_; }

 private:
  /// Pages by number, counted by reference.
  class PagePool {
   public:
    void reset(int pages);
    [[nodiscard]] int take() noexcept;  ///< there must be a free one
    void add(int page) noexcept { ++references_[static_cast<size_t>(page)]; }
    void drop(int page) noexcept;
    [[nodiscard]] bool shared(int page) const noexcept { return references_[static_cast<size_t>(page)] > 1; }
    [[nodiscard]] int free() const noexcept { return static_cast<int>(free_.size()); }
    [[nodiscard]] int total() const noexcept { return static_cast<int>(references_.size()); }

   private:
    std::vector<int> free_;
    std::vector<int> references_;  // [pages]
  };
  /// Which page each sequence has where, for one kind of layer. Block i of a sequence is in column i %
  /// stride.
  struct Table {
    PagePool pool;
    int stride = 0;
    bool full = true;
    std::vector<int32_t> pages;  // [sequences, stride]; −1: none
    std::vector<int32_t> host;   // the same with 0 for none, as the backend gets it
    Buffer device;
    bool changed = true;
  };
  struct Sequence {
    bool open = false;
    int length = 0;
    int written = 0;  // the furthest position ever stored since open(): what the rings have lost
  };

  void reset(Table& table, bool full, int stride, int pages);
  [[nodiscard]] int32_t& page(Table& table, int sequence, int block) noexcept;
  void set_page(Table& table, int sequence, int block, int32_t page) noexcept;
  void allocate_layer(const LayerSpec& layer, const Table& table, KvView& view);
  [[nodiscard]] int pages_needed(Table& table, int sequence, int length) noexcept;
  void append_pages(Table& table, int sequence, int length) noexcept;
  void copy_page(const Table& table, int from, int to);
  [[nodiscard]] int oldest_ring_block(const Sequence& sequence) const noexcept;

  const ModelSpec& spec_;
  Backend& backend_;
  KvOptions options_;
  int window_ = 0;  // the largest: what truncate must find intact
  Table full_;
  Table rings_;
  std::vector<Sequence> sequences_;
  std::vector<KvView> views_;  // [layers]
  std::vector<Buffer> memory_;
  int64_t bytes_ = 0;
};

}  // namespace facet
