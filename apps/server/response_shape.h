// OpenAI's JSON for completions and chat completions, whole and streamed.
#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "server/answer.h"
#include "text/tokenizer.h"

namespace facet::server {

using OrderedJson = nlohmann::ordered_json;

/// All pieces of a choice, joined.
struct Choice {
  std::string content;
  std::string reasoning;
  std::vector<ToolCallPiece> calls;
  std::vector<LoggedToken> logprobs;
  Finish finish;

  void add(const AnswerPiece& piece);
};

/// Tokens of all choices; a prompt with several choices counts once.
struct Usage {
  int64_t prompt_tokens = 0;
  int64_t cached_tokens = 0;
  int64_t generated_tokens = 0;
  double prompt_ms = 0;     ///< of the first choice: from its admission to its first token
  double generated_ms = 0;  ///< of the first choice: from its first token to its last
};

/// Where an answer comes from; the same in all its events.
struct AnswerOrigin {
  std::string id;
  int64_t created = 0;  ///< seconds since 1970
  std::string model;
};

class ResponseShape {
 public:
  ResponseShape(AnswerOrigin origin, const text::Tokenizer& tokenizer, bool logprobs, bool usage_in_events)
      : origin_(std::move(origin)),
        tokenizer_(tokenizer),
        logprobs_(logprobs),
        usage_in_events_(usage_in_events) {}
  virtual ~ResponseShape() = default;
  ResponseShape(const ResponseShape&) = delete;
  ResponseShape& operator=(const ResponseShape&) = delete;

  /// The whole answer.
  [[nodiscard]] virtual OrderedJson whole(const std::vector<Choice>& choices, const Usage& usage) const = 0;
  /// What opens a streamed choice; null when nothing does.
  [[nodiscard]] virtual OrderedJson first_event(size_t choice) const = 0;
  /// A piece of a streamed answer.
  [[nodiscard]] virtual OrderedJson event(const AnswerPiece& piece) = 0;
  /// The last event, with the usage and no choices.
  [[nodiscard]] OrderedJson usage_event(const Usage& usage) const;

 protected:
  [[nodiscard]] OrderedJson envelope(const char* object, OrderedJson choices) const;
  [[nodiscard]] OrderedJson event_envelope(OrderedJson choice) const;
  [[nodiscard]] virtual const char* event_object() const = 0;
  /// A token's bytes.
  [[nodiscard]] std::string token_bytes(int32_t id) const;

  AnswerOrigin origin_;
  const text::Tokenizer& tokenizer_;
  bool logprobs_;
  bool usage_in_events_;
};

/// text_completion. `choices` is how many there are.
[[nodiscard]] std::unique_ptr<ResponseShape> make_completion_shape(AnswerOrigin origin,
                                                                   const text::Tokenizer& tokenizer,
                                                                   bool logprobs, bool usage_in_events,
                                                                   size_t choices);
/// chat.completion and chat.completion.chunk.
[[nodiscard]] std::unique_ptr<ResponseShape> make_chat_shape(AnswerOrigin origin,
                                                             const text::Tokenizer& tokenizer, bool logprobs,
                                                             bool usage_in_events);

/// As one line; bytes that are not UTF-8 become U+FFFD.
[[nodiscard]] std::string to_text(const OrderedJson& json);

[[nodiscard]] OrderedJson usage_json(const Usage& usage);
/// {"prompt_ms", "generated_ms"}: not OpenAI's.
[[nodiscard]] OrderedJson timings_json(const Usage& usage);

}  // namespace facet::server
