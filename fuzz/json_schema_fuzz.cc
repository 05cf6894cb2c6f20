// A JSON Schema and, after the first NUL, bytes that choose a way through it: no dead end, and JSON at the
// end.
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "base/error.h"
#include "formats/ordered_json.h"
#include "text/json_automaton.h"

namespace {

using facet::text::JsonAutomaton;
using facet::text::JsonSchema;

/// The first byte from `wanted` on that may come next, taken; −1 when none may.
int push_near(JsonAutomaton& automaton, unsigned wanted) {
  for (unsigned i = 0; i < 256; ++i) {
    const auto byte = static_cast<char>((wanted + i) % 256);
    JsonAutomaton next = automaton;
    if (!next.push(byte)) continue;
    automaton = next;
    return static_cast<unsigned char>(byte);
  }
  return -1;
}

void walk(const JsonSchema& schema, std::string_view choices) {
  JsonAutomaton automaton(schema);
  std::string text;
  for (const char choice : choices) {
    const int byte = push_near(automaton, static_cast<unsigned char>(choice));
    if (byte < 0 && !automaton.can_end()) __builtin_trap();
    if (byte < 0) break;
    text += static_cast<char>(byte);
  }
  if (automaton.can_end() && !nlohmann::json::accept(text)) __builtin_trap();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const size_t end = input.find('\0');
  facet::JsonLimits limits;
  limits.max_members = JsonSchema::kMaxProperties;
  try {
    const std::string document = "{\"schema\":" + std::string(input.substr(0, end)) + "}";
    constexpr std::string_view kKey = "schema";
    const JsonSchema schema(facet::parse_ordered_member(document, "schema", {&kKey, 1}, limits));
    if (end != std::string_view::npos) walk(schema, input.substr(end + 1));
  } catch (const facet::Error&) {
    // Refused.
  }
  return 0;
}
