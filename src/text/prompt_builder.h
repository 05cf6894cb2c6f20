// A prompt in the making: delimiters as tokens, everything else as text.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/tokenizer.h"

namespace facet::text {

/// Joins text and tokens into ids. Text between two tokens is encoded as one string, as it would be if the
/// whole prompt were one text that is split at its added tokens; control tokens spelled in it stay text.
class PromptBuilder {
 public:
  explicit PromptBuilder(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {}

  PromptBuilder& text(std::string_view text) {
    pending_ += text;
    return *this;
  }

  PromptBuilder& token(int32_t id) {
    encode_pending();
    ids_.push_back(id);
    return *this;
  }

  [[nodiscard]] std::vector<int32_t> take() {
    encode_pending();
    return std::exchange(ids_, {});
  }

 private:
  void encode_pending() {
    if (pending_.empty()) return;
    const auto ids = tokenizer_.encode(pending_, {.add_bos = false, .parse_special = false});
    ids_.insert(ids_.end(), ids.begin(), ids.end());
    pending_.clear();
  }

  const Tokenizer& tokenizer_;
  std::string pending_;
  std::vector<int32_t> ids_;
};

}  // namespace facet::text
