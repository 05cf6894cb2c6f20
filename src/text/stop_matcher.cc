#include "text/stop_matcher.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "base/quote.h"
#include "text/utf8.h"

namespace facet::text {

StopMatcher::StopMatcher(std::vector<std::string> stops) {
  for (std::string& stop : stops) {
    if (stop.empty()) throw bad_input("a stop string is empty");
    if (!is_utf8(stop)) throw bad_input("a stop string is not UTF-8: " + quote(stop));
    Pattern pattern{std::move(stop), {0, 0}, 0};
    for (size_t i = 1; i < pattern.text.size(); ++i) {
      size_t border = pattern.border[i];
      while (border > 0 && pattern.text[border] != pattern.text[i]) border = pattern.border[border];
      pattern.border.push_back(pattern.text[border] == pattern.text[i] ? border + 1 : 0);
    }
    patterns_.push_back(std::move(pattern));
  }
}

void StopMatcher::advance(Pattern& pattern, char byte) const noexcept {
  while (pattern.matched > 0 && pattern.text[pattern.matched] != byte)
    pattern.matched = pattern.border[pattern.matched];
  if (pattern.text[pattern.matched] == byte) ++pattern.matched;
}

std::string_view StopMatcher::push(std::string_view text) {
  out_.clear();
  if (matched_) return out_;
  size_t end = pending_.size();
  pending_ += text;
  for (; end < pending_.size() && !matched_; ++end) {
    for (size_t i = 0; i < patterns_.size(); ++i) {
      advance(patterns_[i], pending_[end]);
      const bool complete = patterns_[i].matched == patterns_[i].text.size();
      if (complete && (!matched_ || patterns_[i].text.size() > patterns_[*matched_].text.size()))
        matched_ = i;
    }
  }
  size_t held = 0;
  for (const Pattern& pattern : patterns_) held = std::max(held, pattern.matched);
  if (matched_) {
    out_.assign(pending_, 0, end - patterns_[*matched_].text.size());
    pending_.clear();
  } else {
    out_.assign(pending_, 0, pending_.size() - held);
    pending_.erase(0, pending_.size() - held);
  }
  return out_;
}

std::string_view StopMatcher::flush() {
  out_.clear();
  std::swap(out_, pending_);
  for (Pattern& pattern : patterns_) pattern.matched = 0;
  return out_;
}

void StopMatcher::reset() noexcept {
  pending_.clear();
  matched_.reset();
  for (Pattern& pattern : patterns_) pattern.matched = 0;
}

}  // namespace facet::text
