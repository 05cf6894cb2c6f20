#include "text/chat_tokens.h"

#include <string_view>

namespace facet::text {

bool ChatTokens::has_thinking() const noexcept {
  return think != kAbsent && channel_begin != kAbsent && channel_end != kAbsent;
}

bool ChatTokens::has_tools() const noexcept {
  for (const int32_t id :
       {tool_begin, tool_end, tool_call_begin, tool_call_end, tool_response_begin, tool_response_end, quote})
    if (id == kAbsent) return false;
  return true;
}

std::vector<int32_t> ChatTokens::stop_ids() const {
  std::vector<int32_t> ids;
  for (const int32_t id : {turn_end, tool_response_begin, eos})
    if (id != kAbsent) ids.push_back(id);
  return ids;
}

std::optional<ChatTokens> find_chat_tokens(const Tokenizer& tokenizer) {
  const auto find = [&](std::string_view spelling) {
    const int32_t id = tokenizer.id(spelling).value_or(ChatTokens::kAbsent);
    return tokenizer.is_special(id) ? id : ChatTokens::kAbsent;
  };
  ChatTokens tokens;
  tokens.bos = tokenizer.bos_id().value_or(ChatTokens::kAbsent);
  tokens.eos = tokenizer.eos_id().value_or(ChatTokens::kAbsent);
  tokens.turn_begin = find("<|turn>");
  tokens.turn_end = find("<turn|>");
  if (tokens.turn_begin != ChatTokens::kAbsent && tokens.turn_end != ChatTokens::kAbsent) {
    tokens.dialect = ChatDialect::kGemma4;
    tokens.think = find("<|think|>");
    tokens.channel_begin = find("<|channel>");
    tokens.channel_end = find("<channel|>");
    tokens.tool_begin = find("<|tool>");
    tokens.tool_end = find("<tool|>");
    tokens.tool_call_begin = find("<|tool_call>");
    tokens.tool_call_end = find("<tool_call|>");
    tokens.tool_response_begin = find("<|tool_response>");
    tokens.tool_response_end = find("<tool_response|>");
    tokens.quote = find("<|\"|>");
    return tokens;
  }
  tokens.dialect = ChatDialect::kGemma3;
  tokens.turn_begin = find("<start_of_turn>");
  tokens.turn_end = find("<end_of_turn>");
  if (tokens.turn_begin == ChatTokens::kAbsent || tokens.turn_end == ChatTokens::kAbsent) return std::nullopt;
  return tokens;
}

}  // namespace facet::text
