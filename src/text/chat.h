// A conversation, free of any model's format and any API's.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace facet::text {

enum class Role {
  kSystem,  ///< also what APIs call developer
  kUser,
  kModel,  ///< also what APIs call assistant
  kTool    ///< the result of a tool call of the model message before it
};

/// A function that the model may call.
struct Tool {
  std::string name;
  std::string description;
  nlohmann::json parameters;  ///< a JSON schema of type object, or null
};

/// A call that the model made.
struct ToolCall {
  std::string id;  ///< what a Role::kTool message refers to; never shown to the model
  std::string name;
  nlohmann::json arguments;  ///< an object, or null for none
};

struct Message {
  Role role = Role::kUser;
  std::string content{};
  std::string reasoning{};             ///< kModel: what it thought first
  std::vector<ToolCall> tool_calls{};  ///< kModel
  std::string tool_call_id{};          ///< kTool: which call this answers
  std::string tool_name{};             ///< kTool: the function, where no id says it
  nlohmann::json tool_result{};        ///< kTool: an object to show in place of `content`, or null
};

struct Conversation {
  std::vector<Message> messages;
  std::vector<Tool> tools;
  bool thinking = false;  ///< ask the model to think before it answers
};

}  // namespace facet::text
