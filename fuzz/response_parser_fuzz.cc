// Any tokens parse to events that make sense: calls begin and end in order, their arguments are one JSON
// object each, all text is UTF-8.
#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <span>
#include <string>

#include "small_tokenizer.h"
#include "text/response_parser.h"
#include "text/utf8.h"

namespace {

using facet::text::ChatEvent;

class Checker {
 public:
  void look(std::span<const ChatEvent> events) {
    for (const ChatEvent& event : events) {
      if (ended_ || !facet::text::is_utf8(event.text)) __builtin_trap();
      check(event);
    }
  }

  void finish() const {
    if (in_call_) __builtin_trap();
  }

 private:
  void check(const ChatEvent& event) {
    const bool of_call =
        event.kind == ChatEvent::Kind::kToolCallArguments || event.kind == ChatEvent::Kind::kToolCallEnd;
    if (of_call != in_call_ ||
        ((of_call || event.kind == ChatEvent::Kind::kToolCallBegin) && event.call != calls_))
      __builtin_trap();
    if (event.kind == ChatEvent::Kind::kToolCallBegin) {
      if (event.text.empty()) __builtin_trap();
      in_call_ = true;
      arguments_.clear();
    } else if (event.kind == ChatEvent::Kind::kToolCallArguments) {
      arguments_ += event.text;
    } else if (event.kind == ChatEvent::Kind::kToolCallEnd) {
      if (!nlohmann::json::parse(arguments_).is_object()) __builtin_trap();
      in_call_ = false;
      ++calls_;
    } else if (event.kind == ChatEvent::Kind::kEndOfTurn) {
      ended_ = true;
    } else if (event.text.empty()) {
      __builtin_trap();
    }
  }

  std::string arguments_;
  size_t calls_ = 0;
  bool in_call_ = false;
  bool ended_ = false;
};

/// Readable inputs: a low control character or DEL is a control or user-defined token, the rest the byte.
int32_t token_of(uint8_t byte) {
  if (byte == 0x7F) return 10;
  return byte < 16 && byte != '\n' ? byte : 16 + byte;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace facet::text;
  static const Tokenizer tokenizer = small_tokenizer(false, true);
  static const ChatTokens tokens = find_chat_tokens(tokenizer).value();
  if (size == 0) return 0;
  ResponseParser parser(tokenizer, tokens, (data[0] & 1U) != 0);
  Checker checker;
  for (const uint8_t byte : std::span(data, size).subspan(1)) checker.look(parser.push(token_of(byte)));
  checker.look(parser.finish());
  checker.finish();
  return 0;
}
