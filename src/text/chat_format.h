// A conversation as the ids that a Gemma model was trained on.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "text/chat.h"
#include "text/chat_tokens.h"
#include "text/prompt_builder.h"
#include "text/tokenizer.h"

namespace facet::text {

/// What render() makes.
struct ChatPrompt {
  std::vector<int32_t> ids;
  bool in_thought = false;  ///< the prompt ends inside a thought: what the model writes next is reasoning
};

struct ChatFormatOptions {
  /// Begin an answer without thinking with an empty thought. The larger Gemma 4 models expect it; E2B and
  /// E4B, the ones with per-layer embeddings, do not.
  bool empty_thought = false;
};

/// Renders conversations for Gemma 4 and Gemma 3. No template from a model file is executed. Delimiters are
/// tokens; text that spells one stays text.
///
/// Gemma 4 follows the model family's chat_template.jinja (revision of July 2026), except where that would
/// lose the order in which the model wrote: text beside tool calls goes before them.
class ChatFormat {
 public:
  /// `tokenizer` must outlive the format. Throws Error{kBadInput} when it has no chat tokens.
  explicit ChatFormat(const Tokenizer& tokenizer, ChatFormatOptions options = {});

  /// The prompt up to and including the head of the model's turn. Throws Error{kBadInput} on what the
  /// format cannot say: tools or thinking without tokens for them, a tool result without a call, for Gemma
  /// 3 roles that do not alternate.
  [[nodiscard]] ChatPrompt render(const Conversation& conversation) const;

  [[nodiscard]] const ChatTokens& tokens() const noexcept { return tokens_; }

 private:
  class Gemma4;

  [[nodiscard]] ChatPrompt render_gemma3(const Conversation& conversation) const;

  const Tokenizer* tokenizer_;
  ChatTokens tokens_;
  ChatFormatOptions options_;
};

}  // namespace facet::text
