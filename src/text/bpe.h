// Merging neighbours in a sequence of symbols, best first.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace facet::text {

/// One rule: `left` `right` becomes `result`. Lower rank first; equal ranks from left to right.
struct MergeRule {
  int32_t left;
  int32_t right;
  int32_t rank;
  int32_t result;
};

/// The rules of a vocabulary, one sorted row per left symbol: nothing to hash, so nothing to attack.
class MergeTable {
 public:
  struct Entry {
    int32_t right;
    int32_t rank;
    int32_t result;
  };

  MergeTable() = default;

  /// `rules` name symbols in [0, symbols). Of two rules for one pair the later counts, as in Hugging
  /// Face's loader.
  MergeTable(size_t symbols, const std::vector<MergeRule>& rules);

  /// The rule for this pair, or nullptr. `left` in [0, symbols).
  [[nodiscard]] const Entry* find(int32_t left, int32_t right) const noexcept;

 private:
  std::vector<uint32_t> row_begin_;  // [symbols + 1]
  std::vector<Entry> entries_;       // each row sorted by `right`
};

/// Merges `symbols` in place until no rule applies: always the pair of the lowest rank, the leftmost of
/// equals. O(n log n) time, O(n) memory, no recursion. (Sennrich et al. 2016; the order is that of
/// Hugging Face tokenizers and of SentencePiece.)
class BpeMerger {
 public:
  explicit BpeMerger(const MergeTable& table) : table_(table) {}

  /// At most 2^31 - 1 symbols.
  void merge(std::vector<int32_t>& symbols);

 private:
  struct Candidate {
    uint64_t order;  // rank in the high half, position in the low one
    int32_t left;
    int32_t right;
    int32_t result;
  };

  void consider(const std::vector<int32_t>& symbols, int32_t left_at, int32_t right_at);
  void push(const std::vector<int32_t>& symbols, int32_t left_at, int32_t right_at);

  const MergeTable& table_;
  std::vector<int32_t> previous_;  // a doubly linked list over positions
  std::vector<int32_t> next_;
  std::vector<Candidate> heap_;
};

}  // namespace facet::text
