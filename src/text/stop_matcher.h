// Stop strings in a stream of text.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace facet::text {

/// Passes text through until one of the stop strings has gone by, wherever the pieces of text are cut.
/// Holds back only what may still turn out to be the beginning of a stop string; the stop string itself is
/// never passed on. The first stop string to be complete counts, the longest of those that end together.
/// O(number of stop strings) per byte (Knuth-Morris-Pratt for each).
class StopMatcher {
 public:
  /// Throws Error{kBadInput} when a stop string is empty or not UTF-8.
  explicit StopMatcher(std::vector<std::string> stops = {});

  /// What of the text so far is now known to come before any stop string, and was not returned yet. Cut
  /// between code points when the text as a whole is UTF-8 and its pieces are. Valid until the next call.
  [[nodiscard]] std::string_view push(std::string_view text);

  /// The end of the stream: what was held back. Valid until the next call.
  [[nodiscard]] std::string_view flush();

  /// The index of the stop string that ended the stream. From then on push() returns nothing.
  [[nodiscard]] std::optional<size_t> matched() const noexcept { return matched_; }

  /// Starts a new stream.
  void reset() noexcept;

 private:
  struct Pattern {
    std::string text;
    std::vector<size_t> border;  // by length of a prefix: its longest proper border
    size_t matched = 0;          // bytes of `text` that the stream currently ends with
  };

  void advance(Pattern& pattern, char byte) const noexcept;

  std::vector<Pattern> patterns_;
  std::string pending_;  // held back, then the new text
  std::string out_;
  std::optional<size_t> matched_;
};

}  // namespace facet::text
