#include "text/tool_notation.h"

#include <algorithm>
#include <array>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/quote.h"
#include "text/trim.h"

namespace facet::text {
namespace {

using nlohmann::json;

constexpr int kMaxNesting = 64;

void check_depth(int depth) {
  if (depth > kMaxNesting)
    throw bad_input("a tool's schema, arguments or result is nested deeper than 64 levels");
}

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

std::string upper(std::string text) {
  for (char& c : text)
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
  return text;
}

/// The members of an object in the order of their keys, ignoring ASCII case.
std::vector<std::pair<std::string, const json*>> sorted_members(const json& object) {
  std::vector<std::pair<std::string, const json*>> members;
  for (const auto& [key, value] : object.items()) members.emplace_back(key, &value);
  std::stable_sort(members.begin(), members.end(), [](const auto& a, const auto& b) {
    return std::lexicographical_compare(
        a.first.begin(), a.first.end(), b.first.begin(), b.first.end(), [](char x, char y) {
          return static_cast<unsigned char>(lower(x)) < static_cast<unsigned char>(lower(y));
        });
  });
  return members;
}

/// object[key], or null.
const json& member(const json& object, const char* key) {
  static const json null;
  if (!object.is_object()) return null;
  const auto found = object.find(key);
  return found == object.end() ? null : *found;
}

/// Whether a template would take `value` for true.
bool is_given(const json& value) {
  if (value.is_string()) return !value.get_ref<const std::string&>().empty();
  return value != false && !value.empty();
}

/// A string as it is, anything else as JSON.
std::string plain(const json& value) {
  return value.is_string() ? value.get<std::string>()
                           : value.dump(-1, ' ', false, json::error_handler_t::replace);
}

/// A schema's type in capitals. Of a list of types, which Gemma has no form for, the first that is not
/// "null"; `nullable` tells whether that was among them.
std::pair<std::string, bool> type_of(const json& schema) {
  const json& type = member(schema, "type");
  if (type.is_string()) return {upper(type.get<std::string>()), false};
  if (!type.is_array()) return {"", false};
  std::string first;
  bool nullable = false;
  for (const json& each : type) {
    if (each == "null")
      nullable = true;
    else if (first.empty() && each.is_string())
      first = upper(each.get<std::string>());
  }
  return {first, nullable};
}

/// Keywords of a schema, where a schema stands for its own properties.
bool is_keyword(std::string_view key) {
  constexpr std::array<std::string_view, 5> kKeywords = {"description", "type", "properties", "required",
                                                         "nullable"};
  return std::find(kKeywords.begin(), kKeywords.end(), key) != kKeywords.end();
}

/// Puts a comma before every element but the first.
class Separator {
 public:
  explicit Separator(PromptBuilder& prompt) : prompt_(prompt) {}
  void operator()() {
    if (!first_) prompt_.text(",");
    first_ = false;
  }

 private:
  PromptBuilder& prompt_;
  bool first_ = true;
};

}  // namespace

void ToolNotation::string(std::string_view text) {
  prompt_.token(tokens_.quote).text(text).token(tokens_.quote);
}

void ToolNotation::value(const json& value, Keys keys, int depth) {
  check_depth(depth);
  if (value.is_string()) {
    string(value.get_ref<const std::string&>());
  } else if (value.is_object()) {
    prompt_.text("{");
    members(value, keys, depth + 1);
    prompt_.text("}");
  } else if (value.is_array()) {
    prompt_.text("[");
    Separator separate(prompt_);
    for (const json& element : value) {
      separate();
      this->value(element, keys, depth + 1);
    }
    prompt_.text("]");
  } else {
    prompt_.text(value.dump());
  }
}

void ToolNotation::members(const json& object, Keys keys, int depth) {
  Separator separate(prompt_);
  for (const auto& [key, member_value] : sorted_members(object)) {
    separate();
    if (keys == Keys::kQuoted)
      string(key);
    else
      prompt_.text(key);
    prompt_.text(":");
    value(*member_value, keys, depth);
  }
}

void ToolNotation::list_of_strings(const json& list) {
  prompt_.text("[");
  Separator separate(prompt_);
  for (const json& element : list) {
    separate();
    string(plain(element));
  }
  prompt_.text("]");
}

void ToolNotation::properties(const json& properties, int depth) {
  check_depth(depth);
  Separator separate(prompt_);
  for (const auto& [key, schema] : sorted_members(properties)) {
    separate();
    prompt_.text(key).text(":{");
    property(*schema, depth + 1);
    prompt_.text("}");
  }
}

void ToolNotation::property(const json& schema, int depth) {
  Separator separate(prompt_);
  const auto [type, nullable] = type_of(schema);
  if (const json& description = member(schema, "description"); is_given(description)) {
    separate();
    prompt_.text("description:");
    string(plain(description));
  }
  if (const json& choices = member(schema, "enum"); type == "STRING" && is_given(choices)) {
    separate();
    prompt_.text("enum:");
    value(choices, Keys::kQuoted, depth);
  }
  if (const json& element = member(schema, "items");
      type == "ARRAY" && element.is_object() && !element.empty()) {
    separate();
    prompt_.text("items:{");
    items(element, depth);
    prompt_.text("}");
  }
  if (nullable || is_given(member(schema, "nullable"))) {
    separate();
    prompt_.text("nullable:true");
  }
  if (type == "OBJECT") {
    separate();
    prompt_.text("properties:{");
    if (const json& inner = member(schema, "properties"); inner.is_object()) {
      properties(inner, depth + 1);
    } else {  // a schema that names its properties beside its keywords
      json own = schema;
      for (auto it = own.begin(); it != own.end();) it = is_keyword(it.key()) ? own.erase(it) : std::next(it);
      properties(own, depth + 1);
    }
    prompt_.text("}");
    if (const json& required = member(schema, "required"); required.is_array() && !required.empty()) {
      separate();
      prompt_.text("required:");
      list_of_strings(required);
    }
  }
  separate();
  prompt_.text("type:");
  string(type);
}

void ToolNotation::items(const json& schema, int depth) {
  check_depth(depth);
  Separator separate(prompt_);
  for (const auto& [key, member_value] : sorted_members(schema)) {
    if (member_value->is_null()) continue;
    separate();
    prompt_.text(key).text(":");
    if (key == "properties") {
      prompt_.text("{");
      if (member_value->is_object()) properties(*member_value, depth + 1);
      prompt_.text("}");
    } else if (key == "required" && member_value->is_array()) {
      list_of_strings(*member_value);
    } else if (key == "type" && member_value->is_string()) {
      string(upper(member_value->get<std::string>()));
    } else if (key == "type" && member_value->is_array()) {
      json types = json::array();
      for (const json& each : *member_value) types.push_back(upper(plain(each)));
      value(types, Keys::kQuoted, depth + 1);
    } else {
      value(*member_value, Keys::kQuoted, depth + 1);
    }
  }
}

void ToolNotation::declaration(const Tool& tool) {
  prompt_.token(tokens_.tool_begin).text("declaration:").text(tool.name).text("{description:");
  string(tool.description);
  if (tool.parameters.is_object() && !tool.parameters.empty()) {
    Separator separate(prompt_);
    prompt_.text(",parameters:{");
    if (const json& inner = member(tool.parameters, "properties"); inner.is_object() && !inner.empty()) {
      separate();
      prompt_.text("properties:{");
      properties(inner, 2);
      prompt_.text("}");
    }
    if (const json& required = member(tool.parameters, "required");
        required.is_array() && !required.empty()) {
      separate();
      prompt_.text("required:");
      list_of_strings(required);
    }
    // A function's parameters are an object even where the schema forgets to say so.
    const std::string type = type_of(tool.parameters).first;
    separate();
    prompt_.text("type:");
    string(type.empty() ? "OBJECT" : type);
    prompt_.text("}");
  } else if (!tool.parameters.is_null() && !tool.parameters.is_object()) {
    throw bad_input("the parameters of tool " + quote(tool.name) + " are not a JSON schema object");
  }
  prompt_.text("}").token(tokens_.tool_end);
}

void ToolNotation::call(const ToolCall& call) {
  if (!call.arguments.is_object() && !call.arguments.is_null())
    throw bad_input("the arguments of the call of " + quote(call.name) + " are not an object");
  prompt_.token(tokens_.tool_call_begin).text("call:").text(call.name).text("{");
  if (call.arguments.is_object()) members(call.arguments, Keys::kBare, 1);
  prompt_.text("}").token(tokens_.tool_call_end);
}

void ToolNotation::result(std::string_view name, const json& result) {
  prompt_.token(tokens_.tool_response_begin).text("response:").text(name).text("{");
  if (result.is_object()) {
    members(result, Keys::kBare, 1);
  } else {
    prompt_.text("value:");
    value(result, Keys::kBare, 1);
  }
  prompt_.text("}").token(tokens_.tool_response_end);
}

}  // namespace facet::text
