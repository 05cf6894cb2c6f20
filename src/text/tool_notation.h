// How Gemma 4 writes tools, calls and results: not JSON, but bare keys and strings between <|"|> tokens.
#pragma once

#include <nlohmann/json.hpp>
#include <string_view>

#include "text/chat.h"
#include "text/chat_tokens.h"
#include "text/prompt_builder.h"

namespace facet::text {

/// Writes the notation into a prompt. Members are in the order of their keys, ignoring ASCII case, as the
/// models' chat templates write them. All functions throw Error{kBadInput} on nesting over 64.
class ToolNotation {
 public:
  ToolNotation(PromptBuilder& prompt, const ChatTokens& tokens) : prompt_(prompt), tokens_(tokens) {}

  /// <|tool>declaration:NAME{description:…,parameters:{properties:{…},required:[…],type:…}}<tool|>
  void declaration(const Tool& tool);

  /// <|tool_call>call:NAME{key:value,…}<tool_call|>. Throws Error{kBadInput} unless the arguments are an
  /// object or null.
  void call(const ToolCall& call);

  /// <|tool_response>response:NAME{…}<tool_response|>: the members of `result` when it is an object, else
  /// {value:RESULT}.
  void result(std::string_view name, const nlohmann::json& result);

 private:
  enum class Keys { kBare, kQuoted };

  void string(std::string_view text);
  void value(const nlohmann::json& value, Keys keys, int depth);
  void members(const nlohmann::json& object, Keys keys, int depth);
  void list_of_strings(const nlohmann::json& list);
  void properties(const nlohmann::json& properties, int depth);
  void property(const nlohmann::json& schema, int depth);
  void items(const nlohmann::json& schema, int depth);

  PromptBuilder& prompt_;
  const ChatTokens& tokens_;
};

}  // namespace facet::text
