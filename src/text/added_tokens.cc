#include "text/added_tokens.h"

#include <algorithm>
#include <utility>

namespace facet::text {

AddedTokenMatcher::AddedTokenMatcher(std::vector<std::pair<std::string, int32_t>> tokens)
    : tokens_(std::move(tokens)) {
  std::sort(tokens_.begin(), tokens_.end());
  for (size_t i = 0; i < tokens_.size(); ++i) {
    Range& range = by_first_byte_[static_cast<uint8_t>(tokens_[i].first[0])];
    if (range.begin == range.end) range.begin = static_cast<uint32_t>(i);
    range.end = static_cast<uint32_t>(i) + 1;
  }
}

AddedTokenMatcher::Match AddedTokenMatcher::find(std::string_view text, size_t from) const noexcept {
  for (size_t begin = from; begin < text.size(); ++begin) {
    Range range = by_first_byte_[static_cast<uint8_t>(text[begin])];
    Match longest{text.size(), text.size(), -1};
    // Narrow the range of tokens that agree with the text byte by byte.
    for (size_t depth = 1; range.begin < range.end; ++depth) {
      const auto& [spelling, id] = tokens_[range.begin];
      if (spelling.size() == depth) {
        longest = {begin, begin + depth, id};
        ++range.begin;
      }
      if (begin + depth >= text.size()) break;
      const auto next = static_cast<uint8_t>(text[begin + depth]);
      const auto first = tokens_.begin() + range.begin;
      const auto last = tokens_.begin() + range.end;
      const auto low = std::lower_bound(first, last, next, [depth](const auto& token, uint8_t byte) {
        return static_cast<uint8_t>(token.first[depth]) < byte;
      });
      const auto high = std::upper_bound(low, last, next, [depth](uint8_t byte, const auto& token) {
        return byte < static_cast<uint8_t>(token.first[depth]);
      });
      range = {static_cast<uint32_t>(low - tokens_.begin()), static_cast<uint32_t>(high - tokens_.begin())};
    }
    if (longest.id >= 0) return longest;
  }
  return {text.size(), text.size(), -1};
}

}  // namespace facet::text
