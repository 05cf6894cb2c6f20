#include "support/json_schema_check.h"

#include <algorithm>
#include <string>

namespace facet::testing {
namespace {

using Json = nlohmann::ordered_json;

bool is_of_type(const Json& value, const std::string& type) {
  if (type == "string") return value.is_string();
  if (type == "number") return value.is_number();
  if (type == "integer") return value.is_number_integer();
  if (type == "object") return value.is_object();
  if (type == "array") return value.is_array();
  if (type == "boolean") return value.is_boolean();
  return value.is_null();
}

size_t code_points(const std::string& text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](unsigned char c) { return (c & 0xC0U) != 0x80U; }));
}

bool members_satisfy(const Json& value, const Json& schema, const Json& root) {
  const Json properties = schema.value("properties", Json::object());
  for (const Json& name : schema.value("required", Json::array()))
    if (!value.contains(name.get<std::string>())) return false;
  for (const auto& [key, member] : value.items()) {
    const Json rest = schema.value("additionalProperties", Json(true));
    if (!satisfies(member, properties.contains(key) ? properties.at(key) : rest, root)) return false;
  }
  return true;
}

}  // namespace

bool satisfies(const Json& value, const Json& schema, const Json& root) {
  if (schema.is_boolean()) return schema.get<bool>();
  if (schema.contains("$ref")) {
    const Json::json_pointer pointer(schema.at("$ref").get<std::string>().substr(1));
    if (!satisfies(value, root.at(pointer), root)) return false;
  }
  const auto holds = [&](const Json& other) { return satisfies(value, other, root); };
  if (schema.contains("anyOf") && !std::any_of(schema["anyOf"].begin(), schema["anyOf"].end(), holds))
    return false;
  if (schema.contains("allOf") && !std::all_of(schema["allOf"].begin(), schema["allOf"].end(), holds))
    return false;
  if (schema.contains("type")) {
    const Json& type = schema["type"];
    const bool fits = type.is_string() ? is_of_type(value, type)
                                       : std::any_of(type.begin(), type.end(),
                                                     [&](const Json& one) { return is_of_type(value, one); });
    if (!fits) return false;
  }
  if (schema.contains("const") && value != schema["const"]) return false;
  if (schema.contains("enum") &&
      std::find(schema["enum"].begin(), schema["enum"].end(), value) == schema["enum"].end())
    return false;
  if (value.is_string()) {
    const size_t length = code_points(value);
    if (length < schema.value("minLength", size_t{0}) || length > schema.value("maxLength", SIZE_MAX))
      return false;
  }
  if (value.is_array()) {
    if (value.size() < schema.value("minItems", size_t{0}) ||
        value.size() > schema.value("maxItems", SIZE_MAX))
      return false;
    const Json items = schema.value("items", Json(true));
    return std::all_of(value.begin(), value.end(),
                       [&](const Json& item) { return satisfies(item, items, root); });
  }
  return !value.is_object() || members_satisfy(value, schema, root);
}

Json random_schema(std::mt19937& random, int depth) {
  const auto pick = [&random](unsigned count) { return static_cast<size_t>(random() % count); };
  static constexpr const char* kNames[] = {"a", "ab", "b", "x\"", "\xC3\xA9", "c"};
  const auto inner = [&] { return random_schema(random, depth - 1); };
  switch (pick(depth > 0 ? 12 : 7)) {
    case 0: return pick(8) != 0;
    case 1: return Json{{"type", "integer"}};
    case 2: return Json{{"type", {"number", "null"}}, {"title", "x"}};
    case 3: return Json{{"type", "string"}};
    case 4: return Json{{"type", "string"}, {"minLength", pick(3)}, {"maxLength", pick(5)}};
    case 5: return Json{{"enum", {"a", "ab", 1, 12, nullptr, {{"a", {1, true}}}}}};
    case 6: return Json{{"type", "array"}, {"items", {{"$ref", "#"}}}};
    case 7: return Json{{"type", "array"}, {"items", inner()}, {"minItems", pick(3)}, {"maxItems", pick(4)}};
    case 8:
    case 9: return Json{{"anyOf", {inner(), inner(), inner()}}};
    default: break;
  }
  Json object = {{"type", "object"}, {"properties", Json::object()}, {"required", Json::array()}};
  for (const char* name : kNames) {
    if (pick(2) == 0) object["properties"][name] = inner();
    if (pick(4) == 0) object["required"].push_back(name);
  }
  if (pick(2) == 0) object["additionalProperties"] = inner();
  return object;
}

}  // namespace facet::testing
