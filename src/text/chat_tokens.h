// The tokens that structure a chat.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "text/tokenizer.h"

namespace facet::text {

enum class ChatDialect {
  kGemma3,  ///< <start_of_turn>, <end_of_turn>
  kGemma4   ///< <|turn>, <turn|>, channels, tools
};

/// Ids, looked up by spelling; kAbsent where the tokenizer has no such control token.
struct ChatTokens {
  static constexpr int32_t kAbsent = -1;

  ChatDialect dialect = ChatDialect::kGemma4;
  int32_t bos = kAbsent;
  int32_t eos = kAbsent;
  int32_t turn_begin = kAbsent;
  int32_t turn_end = kAbsent;
  int32_t think = kAbsent;          // <|think|>
  int32_t channel_begin = kAbsent;  // <|channel>
  int32_t channel_end = kAbsent;
  int32_t tool_begin = kAbsent;  // <|tool>
  int32_t tool_end = kAbsent;
  int32_t tool_call_begin = kAbsent;  // <|tool_call>
  int32_t tool_call_end = kAbsent;
  int32_t tool_response_begin = kAbsent;  // <|tool_response>
  int32_t tool_response_end = kAbsent;
  int32_t quote = kAbsent;  // <|"|>

  [[nodiscard]] bool has_thinking() const noexcept;
  [[nodiscard]] bool has_tools() const noexcept;

  /// The tokens after which it is no longer the model's turn: end of turn, the request for a tool's
  /// result, end of text.
  [[nodiscard]] std::vector<int32_t> stop_ids() const;
};

/// The chat tokens of a tokenizer, or nothing when it has no turns (a base model's).
[[nodiscard]] std::optional<ChatTokens> find_chat_tokens(const Tokenizer& tokenizer);

}  // namespace facet::text
