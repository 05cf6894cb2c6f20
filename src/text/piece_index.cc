#include "text/piece_index.h"

#include <bit>
#include <cstring>
#include <random>

namespace facet::text {
namespace {

uint64_t process_seed() {
  static const uint64_t seed = [] {
    std::random_device device;
    return (static_cast<uint64_t>(device()) << 32U) | device();
  }();
  return seed;
}

/// The two halves of the 128-bit product, folded.
uint64_t mix(uint64_t a, uint64_t b) noexcept {
  __extension__ using Wide = unsigned __int128;
  const Wide product = static_cast<Wide>(a) * b;
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64U);
}

uint32_t hash_of(std::string_view text) noexcept {
  constexpr uint64_t kMultiplier = 0x9E3779B97F4A7C15;  // 2^64 / golden ratio
  uint64_t state = process_seed() ^ text.size();
  while (!text.empty()) {
    const size_t size = text.size() < 8 ? text.size() : 8;
    uint64_t word = 0;
    std::memcpy(&word, text.data(), size);
    state = mix(state ^ word, kMultiplier ^ process_seed());
    text.remove_prefix(size);
  }
  return static_cast<uint32_t>(mix(state, kMultiplier));
}

}  // namespace

PieceIndex::PieceIndex(std::span<const std::string> pieces) : slots_(std::bit_ceil(2 * pieces.size() + 1)) {
  const size_t mask = slots_.size() - 1;
  for (size_t id = 0; id < pieces.size(); ++id) {
    const uint32_t hash = hash_of(pieces[id]);
    size_t at = hash & mask;
    while (slots_[at].id >= 0) {
      if (slots_[at].hash == hash && pieces[static_cast<size_t>(slots_[at].id)] == pieces[id]) break;
      at = (at + 1) & mask;
    }
    if (slots_[at].id >= 0)
      duplicate_ = static_cast<int32_t>(id);
    else
      slots_[at] = {hash, static_cast<int32_t>(id)};
  }
}

int32_t PieceIndex::find(std::span<const std::string> pieces, std::string_view piece) const noexcept {
  if (slots_.empty()) return -1;
  const size_t mask = slots_.size() - 1;
  const uint32_t hash = hash_of(piece);
  for (size_t at = hash & mask; slots_[at].id >= 0; at = (at + 1) & mask)
    if (slots_[at].hash == hash && pieces[static_cast<size_t>(slots_[at].id)] == piece) return slots_[at].id;
  return -1;
}

}  // namespace facet::text
