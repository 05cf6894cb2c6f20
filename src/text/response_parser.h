// A model's answer, token by token, told apart: text, reasoning, tool calls.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "text/chat_tokens.h"
#include "text/notation_reader.h"
#include "text/stream_decoder.h"
#include "text/tokenizer.h"

namespace facet::text {

struct ChatEvent {
  enum class Kind {
    kContent,            ///< text: a piece of the answer
    kReasoning,          ///< text: a piece of the thought
    kToolCallBegin,      ///< text: the function's name
    kToolCallArguments,  ///< text: a piece of its arguments in JSON
    kToolCallEnd,        ///< the pieces have added up to one JSON object
    kEndOfTurn           ///< nothing follows
  };

  Kind kind = Kind::kContent;
  std::string text;
  size_t call = 0;  ///< of the tool call events: the call's number, from 0
  bool well_formed =
      true;  ///< of kToolCallEnd: false where the arguments were broken and had to be completed
};

/// Parses what a model writes after the prompt of ChatFormat. Delimiters are tokens: text that spells one is
/// text. The events' texts are UTF-8 and never empty; joined, they do not depend on how the answer is cut
/// into tokens.
///
/// A tool call that does not even have a name becomes content; one whose arguments break off or make no
/// sense is completed to valid JSON and marked. A thought that is no thought (another channel name) is
/// reasoning all the same. Control tokens without meaning where they stand are dropped.
class ResponseParser {
 public:
  /// `tokenizer` must outlive the parser. `in_thought` is what the prompt says (ChatPrompt).
  ResponseParser(const Tokenizer& tokenizer, const ChatTokens& tokens, bool in_thought = false);

  /// The events of the next token; valid until the next call.
  [[nodiscard]] std::span<const ChatEvent> push(int32_t id);

  /// The end of the generation, however it came: what was held back, and the end of an unfinished tool
  /// call. Valid until the next call.
  [[nodiscard]] std::span<const ChatEvent> finish();

 private:
  enum class State {
    kContent,
    kThoughtHead,  // after <|channel>: "thought\n" is not reasoning yet
    kThought,
    kCallHead,  // after <|tool_call>: up to the arguments' {
    kCallArguments,
    kEnded
  };

  [[nodiscard]] bool is_delimiter(int32_t id) const noexcept;
  void delimiter(int32_t id);
  void text(std::string_view text);
  void thought_head(std::string_view text);
  void thought(std::string_view text);
  void call_head(std::string_view text);
  void call_arguments(std::string_view text);
  void quote();
  void begin_call();
  void abandon_call();
  void leave_state();
  void emit(ChatEvent::Kind kind, std::string_view text);

  ChatTokens tokens_;
  StreamDecoder decoder_;
  State state_;
  std::string held_;  // the head of a thought or call; in a thought, a newline that may be its last
  NotationReader arguments_;
  std::string json_;
  size_t calls_ = 0;
  std::vector<ChatEvent> events_;  // reused, so that their strings keep their memory
  size_t event_count_ = 0;
};

}  // namespace facet::text
