// Tokens that are matched whole in the text before anything is merged.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace facet::text {

/// Finds added tokens in a text: the leftmost, and of those that start there the longest.
class AddedTokenMatcher {
 public:
  /// Longer spellings are refused when a vocabulary is loaded; it bounds the work per text byte.
  static constexpr size_t kMaxBytes = 256;

  struct Match {
    size_t begin;
    size_t end;  // past the last byte; begin == end == text.size() when there is none
    int32_t id;
  };

  AddedTokenMatcher() = default;

  /// `tokens` are (spelling, id), spellings non-empty and all different.
  explicit AddedTokenMatcher(std::vector<std::pair<std::string, int32_t>> tokens);

  /// The first match at or after `from`.
  [[nodiscard]] Match find(std::string_view text, size_t from) const noexcept;

  [[nodiscard]] bool empty() const noexcept { return tokens_.empty(); }

 private:
  struct Range {
    uint32_t begin = 0;
    uint32_t end = 0;
  };

  std::vector<std::pair<std::string, int32_t>>
      tokens_;  // sorted: a prefix is a range, its own spelling first
  std::array<Range, 256> by_first_byte_{};
};

}  // namespace facet::text
