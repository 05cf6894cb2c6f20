#include "server/response_shape.h"

namespace facet::server {
namespace {

const char* finish_name(FinishReason reason, bool called) {
  const bool stopped = reason == FinishReason::kStopId || reason == FinishReason::kStopped;
  if (stopped && called) return "tool_calls";
  return stopped ? "stop" : "length";
}

OrderedJson text_or_null(const std::string& text) {
  return text.empty() ? OrderedJson(nullptr) : OrderedJson(text);
}

class CompletionShape final : public ResponseShape {
 public:
  CompletionShape(AnswerOrigin origin, const text::Tokenizer& tokenizer, bool logprobs, bool usage_in_events,
                  size_t choices)
      : ResponseShape(std::move(origin), tokenizer, logprobs, usage_in_events), offsets_(choices) {}

  [[nodiscard]] OrderedJson whole(const std::vector<Choice>& choices, const Usage& usage) const override {
    OrderedJson list = OrderedJson::array();
    for (size_t i = 0; i < choices.size(); ++i) {
      size_t offset = 0;
      list.push_back({{"index", i},
                      {"text", choices[i].content},
                      {"logprobs", logprobs_json(choices[i].logprobs, offset)},
                      {"finish_reason", finish_name(choices[i].finish.reason, false)}});
    }
    OrderedJson json = envelope("text_completion", std::move(list));
    json["usage"] = usage_json(usage);
    json["timings"] = timings_json(usage);
    return json;
  }

  [[nodiscard]] OrderedJson first_event(size_t /*choice*/) const override { return nullptr; }

  [[nodiscard]] OrderedJson event(const AnswerPiece& piece) override {
    OrderedJson choice = {{"index", piece.choice},
                          {"text", piece.content},
                          {"logprobs", logprobs_json(piece.logprobs, offsets_[piece.choice])},
                          {"finish_reason", nullptr}};
    if (piece.finish) choice["finish_reason"] = finish_name(piece.finish->reason, false);
    return event_envelope(std::move(choice));
  }

 protected:
  [[nodiscard]] const char* event_object() const override { return "text_completion"; }

 private:
  /// `offset`: where in the answer the first token begins, in bytes; moved past the last.
  [[nodiscard]] OrderedJson logprobs_json(const std::vector<LoggedToken>& tokens, size_t& offset) const {
    if (!logprobs_) return nullptr;
    OrderedJson json = {{"tokens", OrderedJson::array()},
                        {"token_logprobs", OrderedJson::array()},
                        {"top_logprobs", OrderedJson::array()},
                        {"text_offset", OrderedJson::array()}};
    for (const LoggedToken& token : tokens) {
      const std::string text = token_bytes(token.drawn.id);
      json["tokens"].push_back(text);
      json["token_logprobs"].push_back(token.drawn.logprob);
      json["text_offset"].push_back(offset);
      offset += text.size();
      OrderedJson top = OrderedJson::object();
      for (const auto& [id, logprob] : token.top) top[token_bytes(id)] = logprob;
      json["top_logprobs"].push_back(std::move(top));
    }
    return json;
  }

  std::vector<size_t> offsets_;  // [choices]
};

class ChatShape final : public ResponseShape {
 public:
  using ResponseShape::ResponseShape;

  [[nodiscard]] OrderedJson whole(const std::vector<Choice>& choices, const Usage& usage) const override {
    OrderedJson list = OrderedJson::array();
    for (size_t i = 0; i < choices.size(); ++i) {
      const Choice& choice = choices[i];
      OrderedJson message = {{"role", "assistant"}, {"content", choice.content}};
      if (!choice.reasoning.empty()) message["reasoning_content"] = choice.reasoning;
      if (!choice.calls.empty()) {
        message["content"] = text_or_null(choice.content);
        message["tool_calls"] = calls_json(choice.calls, /*numbered=*/false);
      }
      list.push_back({{"index", i},
                      {"message", std::move(message)},
                      {"logprobs", logprobs_json(choice.logprobs)},
                      {"finish_reason", finish_name(choice.finish.reason, !choice.calls.empty())}});
    }
    OrderedJson json = envelope("chat.completion", std::move(list));
    json["usage"] = usage_json(usage);
    json["timings"] = timings_json(usage);
    return json;
  }

  [[nodiscard]] OrderedJson first_event(size_t choice) const override {
    return event_envelope({{"index", choice},
                           {"delta", {{"role", "assistant"}, {"content", ""}}},
                           {"logprobs", nullptr},
                           {"finish_reason", nullptr}});
  }

  [[nodiscard]] OrderedJson event(const AnswerPiece& piece) override {
    OrderedJson delta = OrderedJson::object();
    if (!piece.content.empty()) delta["content"] = piece.content;
    if (!piece.reasoning.empty()) delta["reasoning_content"] = piece.reasoning;
    if (!piece.calls.empty()) {
      delta["tool_calls"] = calls_json(piece.calls, /*numbered=*/true);
      called_.resize(std::max(called_.size(), piece.choice + 1));
      called_[piece.choice] = true;
    }
    OrderedJson choice = {{"index", piece.choice},
                          {"delta", std::move(delta)},
                          {"logprobs", logprobs_json(piece.logprobs)},
                          {"finish_reason", nullptr}};
    if (piece.finish) {
      const bool called = piece.choice < called_.size() && called_[piece.choice];
      choice["finish_reason"] = finish_name(piece.finish->reason, called);
    }
    return event_envelope(std::move(choice));
  }

 protected:
  [[nodiscard]] const char* event_object() const override { return "chat.completion.chunk"; }

 private:
  static OrderedJson calls_json(const std::vector<ToolCallPiece>& calls, bool numbered) {
    OrderedJson list = OrderedJson::array();
    for (const ToolCallPiece& call : calls) {
      OrderedJson json = OrderedJson::object();
      OrderedJson function = OrderedJson::object();
      if (numbered) json["index"] = call.index;
      if (!call.id.empty()) {
        json["id"] = call.id;
        json["type"] = "function";
        function["name"] = call.name;
      }
      function["arguments"] = call.arguments;
      json["function"] = std::move(function);
      list.push_back(std::move(json));
    }
    return list;
  }

  [[nodiscard]] OrderedJson token_json(const LoggedToken::Alternative& token) const {
    const std::string bytes = token_bytes(token.id);
    OrderedJson list = OrderedJson::array();
    for (const char byte : bytes) list.push_back(static_cast<unsigned char>(byte));
    return {{"token", bytes}, {"logprob", token.logprob}, {"bytes", std::move(list)}};
  }

  [[nodiscard]] OrderedJson logprobs_json(const std::vector<LoggedToken>& tokens) const {
    if (!logprobs_) return nullptr;
    OrderedJson content = OrderedJson::array();
    for (const LoggedToken& token : tokens) {
      OrderedJson json = token_json(token.drawn);
      OrderedJson top = OrderedJson::array();
      for (const auto& alternative : token.top) top.push_back(token_json(alternative));
      json["top_logprobs"] = std::move(top);
      content.push_back(std::move(json));
    }
    return {{"content", std::move(content)}, {"refusal", nullptr}};
  }

  std::vector<bool> called_;  // [choices]
};

}  // namespace

void Choice::add(const AnswerPiece& piece) {
  content += piece.content;
  reasoning += piece.reasoning;
  for (const ToolCallPiece& call : piece.calls) {
    if (!call.id.empty()) {
      calls.push_back(call);
    } else if (!calls.empty()) {
      calls.back().arguments += call.arguments;
    }
  }
  logprobs.insert(logprobs.end(), piece.logprobs.begin(), piece.logprobs.end());
  if (piece.finish) finish = *piece.finish;
}

OrderedJson ResponseShape::envelope(const char* object, OrderedJson choices) const {
  return {{"id", origin_.id},
          {"object", object},
          {"created", origin_.created},
          {"model", origin_.model},
          {"choices", std::move(choices)}};
}

OrderedJson ResponseShape::event_envelope(OrderedJson choice) const {
  OrderedJson choices = OrderedJson::array();
  choices.push_back(std::move(choice));
  OrderedJson json = envelope(event_object(), std::move(choices));
  if (usage_in_events_) json["usage"] = nullptr;
  return json;
}

OrderedJson ResponseShape::usage_event(const Usage& usage) const {
  OrderedJson json = envelope(event_object(), OrderedJson::array());
  json["usage"] = usage_json(usage);
  json["timings"] = timings_json(usage);
  return json;
}

std::string ResponseShape::token_bytes(int32_t id) const {
  if (const auto byte = tokenizer_.byte(id)) return {static_cast<char>(*byte)};
  return tokenizer_.decode({&id, 1});
}

std::unique_ptr<ResponseShape> make_completion_shape(AnswerOrigin origin, const text::Tokenizer& tokenizer,
                                                     bool logprobs, bool usage_in_events, size_t choices) {
  return std::make_unique<CompletionShape>(std::move(origin), tokenizer, logprobs, usage_in_events, choices);
}

std::unique_ptr<ResponseShape> make_chat_shape(AnswerOrigin origin, const text::Tokenizer& tokenizer,
                                               bool logprobs, bool usage_in_events) {
  return std::make_unique<ChatShape>(std::move(origin), tokenizer, logprobs, usage_in_events);
}

std::string to_text(const OrderedJson& json) {
  return json.dump(-1, ' ', false, OrderedJson::error_handler_t::replace);
}

OrderedJson usage_json(const Usage& usage) {
  return {{"prompt_tokens", usage.prompt_tokens},
          {"completion_tokens", usage.generated_tokens},
          {"total_tokens", usage.prompt_tokens + usage.generated_tokens},
          {"prompt_tokens_details", {{"cached_tokens", usage.cached_tokens}}}};
}

OrderedJson timings_json(const Usage& usage) {
  return {{"prompt_ms", usage.prompt_ms}, {"generated_ms", usage.generated_ms}};
}

}  // namespace facet::server
