#include "text/chat_format.h"

#include <fmt/format.h>

#include <string>
#include <string_view>

#include "base/error.h"
#include "text/tool_notation.h"
#include "text/trim.h"

namespace facet::text {
namespace {

/// The text of a model message without thoughts that a client left in it, spelled out.
std::string without_thoughts(std::string_view text) {
  constexpr std::string_view kBegin = "<|channel>";
  constexpr std::string_view kEnd = "<channel|>";
  std::string kept;
  while (!text.empty()) {
    const std::string_view part = text.substr(0, text.find(kEnd));
    kept += part.substr(0, part.find(kBegin));
    text.remove_prefix(std::min(text.size(), part.size() + kEnd.size()));
  }
  return std::string(trim(kept));
}

ChatTokens chat_tokens(const Tokenizer& tokenizer) {
  const auto tokens = find_chat_tokens(tokenizer);
  if (!tokens)
    throw bad_input(fmt::format("{}: no chat tokens (<|turn> or <start_of_turn>); this is no chat model",
                                tokenizer.vocabulary().source));
  return *tokens;
}

}  // namespace

/// One conversation on its way to a Gemma 4 prompt.
class ChatFormat::Gemma4 {
 public:
  Gemma4(const ChatFormat& format, const Conversation& conversation)
      : conversation_(conversation),
        messages_(conversation.messages),
        tokens_(format.tokens_),
        options_(format.options_),
        prompt_(*format.tokenizer_),
        notation_(prompt_, tokens_) {}

  ChatPrompt render() {
    check_capabilities();
    for (size_t i = 0; i < messages_.size(); ++i)
      if (messages_[i].role == Role::kUser) last_user_ = i + 1;
    if (tokens_.bos != ChatTokens::kAbsent) prompt_.token(tokens_.bos);
    size_t next = system_turn();
    while (next < messages_.size()) next = turn(next);
    const bool in_thought = begin_answer();
    return {prompt_.take(), in_thought};
  }

 private:
  void check_capabilities() const {
    if (conversation_.thinking && !tokens_.has_thinking())
      throw bad_input("this model's tokenizer has no tokens for thinking");
    bool needs_tools = !conversation_.tools.empty();
    for (const Message& message : messages_) needs_tools |= !message.tool_calls.empty();
    if (needs_tools && !tokens_.has_tools())
      throw bad_input("this model's tokenizer has no tokens for tool calls");
  }

  void begin_turn(std::string_view role) { prompt_.token(tokens_.turn_begin).text(role).text("\n"); }
  void end_turn() { prompt_.token(tokens_.turn_end).text("\n"); }

  /// The leading system turn, if there is anything to say in it; returns the message to go on with.
  size_t system_turn() {
    const bool has_message = !messages_.empty() && messages_[0].role == Role::kSystem;
    if (!has_message && conversation_.tools.empty() && !conversation_.thinking) return 0;
    begin_turn("system");
    if (conversation_.thinking) prompt_.token(tokens_.think).text("\n");
    if (has_message) prompt_.text(trim(messages_[0].content));
    for (const Tool& tool : conversation_.tools) notation_.declaration(tool);
    end_turn();
    return has_message ? 1 : 0;
  }

  /// Renders message `at` (and the tool results behind it); returns the next one.
  size_t turn(size_t at) {
    const Message& message = messages_[at];
    switch (message.role) {
      case Role::kModel: return model_message(at);
      case Role::kTool:
        throw bad_input(fmt::format("messages[{}]: a tool result that no tool call precedes", at));
      case Role::kSystem:
      case Role::kUser:
        begin_turn(message.role == Role::kUser ? "user" : "system");
        prompt_.text(trim(message.content));
        end_turn();
        open_ = Open::kNothing;
        return at + 1;
    }
    return at + 1;
  }

  /// Model messages that follow each other, with tool results between them, share one turn.
  size_t model_message(size_t at) {
    const Message& message = messages_[at];
    if (open_ == Open::kNothing) begin_turn("model");
    if (!message.reasoning.empty() && !message.tool_calls.empty() && at + 1 > last_user_ &&
        tokens_.has_thinking())
      prompt_.token(tokens_.channel_begin)
          .text("thought\n")
          .text(message.reasoning)
          .text("\n")
          .token(tokens_.channel_end);
    prompt_.text(without_thoughts(message.content));
    for (const ToolCall& call : message.tool_calls) notation_.call(call);
    size_t next = at + 1;
    if (!message.tool_calls.empty()) {
      for (; next < messages_.size() && messages_[next].role == Role::kTool; ++next)
        tool_result(messages_[next], message);
    }
    const bool has_results = next > at + 1;
    const bool model_goes_on = next < messages_.size() && messages_[next].role == Role::kModel;
    if (!message.tool_calls.empty() && !has_results) {
      prompt_.token(tokens_.tool_response_begin);  // where the model stopped to wait for the result
      open_ = model_goes_on || next == messages_.size() ? Open::kCall : Open::kNothing;
    } else if (model_goes_on) {
      open_ = Open::kText;
    } else if (has_results && next == messages_.size()) {
      open_ = Open::kResult;
    } else {
      end_turn();
      open_ = Open::kNothing;
    }
    return next;
  }

  void tool_result(const Message& result, const Message& caller) {
    std::string_view name = "unknown";
    if (!result.tool_name.empty()) name = result.tool_name;
    for (const ToolCall& call : caller.tool_calls)
      if (!result.tool_call_id.empty() && call.id == result.tool_call_id) name = call.name;
    if (result.tool_result.is_null())
      notation_.result(name, result.content);
    else
      notation_.result(name, result.tool_result);
  }

  /// The head of the answer; returns whether it begins inside a thought.
  bool begin_answer() {
    if (open_ == Open::kNothing) {
      begin_turn("model");
      if (!conversation_.thinking && options_.empty_thought && tokens_.has_thinking())
        prompt_.token(tokens_.channel_begin).text("thought\n").token(tokens_.channel_end);
      return false;
    }
    if (open_ != Open::kResult || !conversation_.thinking) return false;
    prompt_.token(tokens_.channel_begin).text("thought\n");
    return true;
  }

  /// What of the model's turn is still open.
  enum class Open { kNothing, kText, kCall, kResult };

  const Conversation& conversation_;
  const std::vector<Message>& messages_;
  const ChatTokens& tokens_;
  const ChatFormatOptions& options_;
  PromptBuilder prompt_;
  ToolNotation notation_;
  size_t last_user_ = 0;  // one past the index of the last user message
  Open open_ = Open::kNothing;
};

ChatFormat::ChatFormat(const Tokenizer& tokenizer, ChatFormatOptions options)
    : tokenizer_(&tokenizer), tokens_(chat_tokens(tokenizer)), options_(options) {}

ChatPrompt ChatFormat::render(const Conversation& conversation) const {
  if (tokens_.dialect == ChatDialect::kGemma3) return render_gemma3(conversation);
  return Gemma4(*this, conversation).render();
}

ChatPrompt ChatFormat::render_gemma3(const Conversation& conversation) const {
  const std::vector<Message>& messages = conversation.messages;
  if (!conversation.tools.empty()) throw bad_input("this model's chat format has no tool calls");
  if (conversation.thinking) throw bad_input("this model's chat format has no thinking");
  PromptBuilder prompt(*tokenizer_);
  if (tokens_.bos != ChatTokens::kAbsent) prompt.token(tokens_.bos);
  const size_t first = !messages.empty() && messages[0].role == Role::kSystem ? 1 : 0;
  for (size_t i = first; i < messages.size(); ++i) {
    const Message& message = messages[i];
    const Role expected = (i - first) % 2 == 0 ? Role::kUser : Role::kModel;
    if (message.role != expected || !message.tool_calls.empty())
      throw bad_input(
          fmt::format("messages[{}]: this model's chat takes user and assistant messages in turn, "
                      "without tools, after at most one system message",
                      i));
    prompt.token(tokens_.turn_begin).text(expected == Role::kUser ? "user\n" : "model\n");
    if (i == first && first == 1) prompt.text(messages[0].content).text("\n\n");
    prompt.text(trim(message.content)).token(tokens_.turn_end).text("\n");
  }
  prompt.token(tokens_.turn_begin).text("model\n");
  return {prompt.take(), false};
}

}  // namespace facet::text
