// What clients ask for, checked.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/sampler.h"
#include "server/request_view.h"
#include "text/chat.h"
#include "text/json_schema.h"

namespace facet::server {

/// Bounds on requests; OpenAI's where it has them.
constexpr size_t kMaxMessages = 1024;
constexpr int kMaxChoices = 8;
constexpr size_t kMaxStops = 16;
constexpr size_t kMaxStopBytes = 256;
constexpr int kMaxTopLogprobs = 20;
constexpr size_t kMaxLogitBias = 1024;
constexpr size_t kMaxTools = 128;
constexpr size_t kMaxToolName = 64;

/// What an answer must be (response_format).
enum class AnswerFormat : uint8_t { kText, kJsonObject, kJsonSchema };

/// What both kinds of completion have.
struct GenerationRequest {
  SamplingParams sampling;
  int max_tokens = 0;  ///< 0: until the context is full
  int choices = 1;     ///< for each prompt
  std::vector<std::string> stop;
  int top_logprobs = -1;  ///< −1: no log probabilities
  bool stream = false;
  bool include_usage = false;  ///< a last event with the usage
  bool ignore_eos = false;
  AnswerFormat format = AnswerFormat::kText;
};

/// A text, or its ids.
struct Prompt {
  std::string text;
  std::vector<int32_t> ids;
};

struct CompletionRequest {
  GenerationRequest generation;
  std::vector<Prompt> prompts;
};

struct ChatRequest {
  GenerationRequest generation;
  text::Conversation conversation;
};

/// What the model that is served suggests and allows.
struct RequestDefaults {
  SamplingParams sampling;
  int vocab_size = 0;
};

/// Read requests. Unknown fields are ignored; null counts as absent; anything else that is not as expected is
/// an ApiError{400} that names the field. A request without a seed gets a random one.
[[nodiscard]] CompletionRequest read_completion_request(const RequestView& request,
                                                        const RequestDefaults& defaults);
[[nodiscard]] ChatRequest read_chat_request(const RequestView& request, const RequestDefaults& defaults);

/// What the answer to a request of this format other than text is held to; `body` is the request, read
/// before. Throws ApiError{400} for a schema that is wrong or not supported. Compiling one takes some
/// milliseconds.
[[nodiscard]] std::shared_ptr<const text::JsonSchema> read_answer_schema(AnswerFormat format,
                                                                         std::string_view body);

/// The fields that both have, log probabilities excepted.
[[nodiscard]] GenerationRequest read_generation_request(const RequestView& request,
                                                        const RequestDefaults& defaults);

}  // namespace facet::server
