// From a piece's spelling to its id.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace facet::text {

/// An open-addressed hash table over a vocabulary's pieces. It stores ids only, so it must be asked with
/// the very pieces that it was built from. The hash is seeded per process: a file cannot be made whose
/// pieces all collide.
class PieceIndex {
 public:
  PieceIndex() = default;

  /// Indexes pieces[0 … n). When a spelling occurs twice its first id stays, and the second one is what
  /// duplicate() returns.
  explicit PieceIndex(std::span<const std::string> pieces);

  /// The id of `piece`, or -1.
  [[nodiscard]] int32_t find(std::span<const std::string> pieces, std::string_view piece) const noexcept;

  /// The id of a piece that is spelled like an earlier one, or -1.
  [[nodiscard]] int32_t duplicate() const noexcept { return duplicate_; }

 private:
  struct Slot {
    uint32_t hash = 0;  // saves most comparisons of unequal pieces
    int32_t id = -1;
  };

  std::vector<Slot> slots_;  // a power of two, at most half full
  int32_t duplicate_ = -1;
};

}  // namespace facet::text
