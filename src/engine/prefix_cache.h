// K and V of token prefixes seen before, ready to go on from.
#pragma once

#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "model/kv_cache.h"

namespace facet {

/// A radix tree over token sequences whose edges are blocks of 64 tokens: a node holds one block's K and V of
/// all layers, by reference to pages of the KvCache. The sliding layers' pages are kept like the full ones',
/// so that a prefix can be taken up at any token and exactly: the same pages, not an approximation. (The
/// radix tree over prefixes is that of SGLang's RadixAttention, Zheng et al. 2024.)
///
/// Least recently used blocks go first; a block goes before the ones it builds on.
class PrefixCache {
 public:
  /// Keeps at most `capacity` blocks of `cache`, which must outlive this.
  PrefixCache(KvCache& cache, int capacity);
  ~PrefixCache();
  PrefixCache(const PrefixCache&) = delete;
  PrefixCache& operator=(const PrefixCache&) = delete;

  /// Length of the longest stored prefix of `tokens`.
  [[nodiscard]] int match(std::span<const int32_t> tokens) const;

  /// Fills the empty `sequence` with the longest stored prefix of `tokens`; returns its length.
  int attach(std::span<const int32_t> tokens, int sequence);

  /// Keeps what `sequence` holds of `tokens`, its content, from position `from` on; what comes before should
  /// have been stored earlier. A last, partly filled block is kept when `partial` says so: the sequence then
  /// copies that block before it writes to it again.
  void store(std::span<const int32_t> tokens, int sequence, int from, bool partial);

  void clear() noexcept;

  [[nodiscard]] int blocks() const noexcept { return static_cast<int>(recent_.size()); }
  [[nodiscard]] int capacity() const noexcept { return capacity_; }

 private:
  struct Node;
  using Children = std::map<std::vector<int32_t>, std::unique_ptr<Node>>;  // by the edge's tokens, 1 … 64
  struct Node {
    KvBlock block;
    Node* parent = nullptr;
    Children children;
    Children::iterator place;           // in the parent's children
    std::list<Node*>::iterator recent;  // in recent_
  };
  struct Path {
    std::vector<Node*> nodes;  // from the root's child down
    int length = 0;            // tokens matched; the last node perhaps in part
  };

  [[nodiscard]] Path find(std::span<const int32_t> tokens) const;
  void touch(const std::vector<Node*>& path) noexcept;
  bool make_room(const Node* keep) noexcept;
  void erase(Node& node) noexcept;
  Node* insert(Node& parent, std::span<const int32_t> edge, int sequence, int index);

  KvCache& cache_;
  int capacity_;
  Node root_;
  std::list<Node*> recent_;  // the most recently used first; a parent always before its children
};

}  // namespace facet
