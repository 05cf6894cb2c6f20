#include <fmt/format.h>

#include <algorithm>
#include <cctype>

#include "server/api_request.h"

namespace facet::server {
namespace {

text::Role read_role(const RequestView& role) {
  const std::string& name = role.string();
  if (name == "system" || name == "developer") return text::Role::kSystem;
  if (name == "user") return text::Role::kUser;
  if (name == "assistant") return text::Role::kModel;
  if (name == "tool") return text::Role::kTool;
  throw role.error("expected system, developer, user, assistant or tool");
}

/// A string, or an array of text parts, joined.
std::string read_content(const RequestView& content) {
  if (content.is_string()) return content.string();
  if (!content.is_array()) throw content.unexpected("a string or an array of text parts");
  std::string text;
  const size_t parts = content.array(0, kMaxMessages);
  for (size_t i = 0; i < parts; ++i) {
    const RequestView part = content.element(i);
    const RequestView type = part.at("type");
    if (type.string() != "text") throw type.error("only text parts are supported");
    text += part.at("text").string();
  }
  return text;
}

std::string read_name(const RequestView& name) {
  const std::string& text = name.string();
  const bool fine = !text.empty() && text.size() <= kMaxToolName &&
                    std::all_of(text.begin(), text.end(), [](unsigned char c) {
                      return std::isalnum(c) != 0 || c == '_' || c == '-' || c == '.';
                    });
  if (!fine) throw name.error(fmt::format("expected 1 to {} letters, digits, '_', '-' or '.'", kMaxToolName));
  return text;
}

void check_type_function(const RequestView& object) {
  if (const auto type = object.find("type"); type && type->string() != "function")
    throw type->error("only functions are supported");
}

text::ToolCall read_tool_call(const RequestView& call) {
  text::ToolCall result;
  check_type_function(call);
  if (const auto id = call.find("id")) result.id = id->string();
  const RequestView function = call.at("function");
  result.name = read_name(function.at("name"));
  if (const auto arguments = function.find("arguments")) {
    if (arguments->is_object()) {
      result.arguments = arguments->json();
    } else if (!arguments->string().empty()) {
      try {
        result.arguments = parse_request(arguments->string());
      } catch (const ApiError&) {
        throw arguments->error("expected the JSON of an object");
      }
    }
  }
  return result;
}

text::Message read_message(const RequestView& view) {
  text::Message message;
  message.role = read_role(view.at("role"));
  const auto content = view.find("content");
  const auto calls = view.find("tool_calls");
  if (content) message.content = read_content(*content);
  if (message.role == text::Role::kModel) {
    if (const auto reasoning = view.find("reasoning_content")) message.reasoning = reasoning->string();
    if (calls) {
      const size_t count = calls->array(0, kMaxTools);
      for (size_t i = 0; i < count; ++i) message.tool_calls.push_back(read_tool_call(calls->element(i)));
    }
  } else if (!content) {
    (void)view.at("content");  // says that it is missing
  }
  if (message.role == text::Role::kTool) {
    if (const auto id = view.find("tool_call_id")) message.tool_call_id = id->string();
    if (const auto name = view.find("name")) message.tool_name = name->string();
    if (message.tool_call_id.empty() && message.tool_name.empty())
      throw view.error("a tool message needs a tool_call_id");
  }
  return message;
}

std::vector<text::Tool> read_tools(const RequestView& tools) {
  std::vector<text::Tool> result;
  const size_t count = tools.array(0, kMaxTools);
  for (size_t i = 0; i < count; ++i) {
    const RequestView view = tools.element(i);
    check_type_function(view);
    const RequestView function = view.at("function");
    text::Tool tool;
    tool.name = read_name(function.at("name"));
    if (const auto description = function.find("description")) tool.description = description->string();
    if (const auto parameters = function.find("parameters")) tool.parameters = parameters->object();
    result.push_back(std::move(tool));
  }
  return result;
}

bool tools_wanted(const RequestView& choice) {
  if (!choice.is_string()) {
    (void)choice.object();
    throw choice.error("naming a function is not supported: use \"auto\" or \"none\"");
  }
  if (choice.string() == "none") return false;
  if (choice.string() == "auto") return true;
  if (choice.string() == "required")
    throw choice.error("\"required\" is not supported: use \"auto\" or \"none\"");
  throw choice.error("expected \"auto\" or \"none\"");
}

bool read_thinking(const RequestView& request) {
  bool thinking = false;
  if (const auto effort = request.find("reasoning_effort")) {
    const std::string& level = effort->string();
    const auto is = [&](std::initializer_list<std::string_view> levels) {
      return std::find(levels.begin(), levels.end(), level) != levels.end();
    };
    if (!is({"none", "minimal", "low", "medium", "high", "xhigh"}))
      throw effort->error("expected none, minimal, low, medium, high or xhigh");
    thinking = !is({"none", "minimal"});
  }
  if (const auto arguments = request.find("chat_template_kwargs"))
    if (const auto enable = arguments->find("enable_thinking")) thinking = enable->boolean();
  return thinking;
}

void read_logprobs(const RequestView& request, GenerationRequest& generation) {
  const auto logprobs = request.find("logprobs");
  const auto top = request.find("top_logprobs");
  if (logprobs && logprobs->boolean()) generation.top_logprobs = 0;
  if (!top) return;
  const auto count = static_cast<int>(top->integer(0, kMaxTopLogprobs));
  if (generation.top_logprobs < 0) {
    if (count > 0) throw top->error("needs logprobs: true");
    return;
  }
  generation.top_logprobs = count;
}

}  // namespace

ChatRequest read_chat_request(const RequestView& request, const RequestDefaults& defaults) {
  ChatRequest chat;
  chat.generation = read_generation_request(request, defaults);
  read_logprobs(request, chat.generation);
  const RequestView messages = request.at("messages");
  const size_t count = messages.array(1, kMaxMessages);
  for (size_t i = 0; i < count; ++i) chat.conversation.messages.push_back(read_message(messages.element(i)));
  const auto choice = request.find("tool_choice");
  if (const auto tools = request.find("tools")) {
    chat.conversation.tools = read_tools(*tools);
    if (choice && !tools_wanted(*choice)) chat.conversation.tools.clear();
  }
  chat.conversation.thinking = read_thinking(request);
  if (chat.generation.format != AnswerFormat::kText && chat.conversation.thinking)
    throw ApiError(400, "response_format: JSON and thinking exclude each other", "response_format");
  return chat;
}

}  // namespace facet::server
