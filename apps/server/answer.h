// A model's answer on its way to a client: from tokens to pieces of text, reasoning and tool calls.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/scheduler.h"
#include "text/response_parser.h"
#include "text/stop_matcher.h"
#include "text/stream_decoder.h"

namespace facet::server {

/// A token that log probabilities were asked for.
struct LoggedToken {
  struct Alternative {
    int32_t id = 0;
    float logprob = 0;
  };
  Alternative drawn;
  std::vector<Alternative> top;
};

struct ToolCallPiece {
  size_t index = 0;
  std::string id, name;   ///< of a call that begins; empty in what follows
  std::string arguments;  ///< the next piece of their JSON
};

/// What a token, or a few, added to a choice.
struct AnswerPiece {
  size_t choice = 0;
  std::string content;
  std::string reasoning;
  std::vector<ToolCallPiece> calls;
  std::vector<LoggedToken> logprobs;
  std::optional<Finish> finish;  ///< the last piece

  [[nodiscard]] bool empty() const noexcept {
    return content.empty() && reasoning.empty() && calls.empty() && logprobs.empty() && !finish;
  }
};

/// Turns tokens into text. One for each choice; used on one thread.
class AnswerReader {
 public:
  explicit AnswerReader(std::vector<std::string> stops) : stops_(std::move(stops)) {}
  virtual ~AnswerReader() = default;
  AnswerReader(const AnswerReader&) = delete;
  AnswerReader& operator=(const AnswerReader&) = delete;

  /// Adds what `token` completes to `piece`; false once a stop string has gone by.
  virtual bool push(int32_t token, AnswerPiece& piece) = 0;
  /// Adds what was held back.
  virtual void finish(AnswerPiece& piece) = 0;

 protected:
  text::StopMatcher stops_;
};

/// Plain text, control tokens left out.
[[nodiscard]] std::unique_ptr<AnswerReader> make_text_reader(const text::Tokenizer& tokenizer,
                                                             std::vector<std::string> stops);
/// A chat answer; stop strings count in its content alone.
[[nodiscard]] std::unique_ptr<AnswerReader> make_chat_reader(const text::Tokenizer& tokenizer,
                                                             const text::ChatTokens& tokens, bool in_thought,
                                                             std::vector<std::string> stops);

/// `prefix` and 24 random letters and digits.
[[nodiscard]] std::string random_id(std::string_view prefix);

}  // namespace facet::server
