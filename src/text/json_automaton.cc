#include "text/json_automaton.h"

namespace facet::text {
namespace {

bool is_digit(char byte) noexcept {
  return byte >= '0' && byte <= '9';
}

bool is_hex(char byte) noexcept {
  return is_digit(byte) || (byte >= 'a' && byte <= 'f') || (byte >= 'A' && byte <= 'F');
}

}  // namespace

bool JsonAutomaton::go(State state) noexcept {
  state_ = state;
  return true;
}

bool JsonAutomaton::push(char byte) noexcept {
  switch (state_) {
    case State::kString: return push_string(static_cast<unsigned char>(byte));
    case State::kEscape: return push_escape(byte);
    case State::kHex:
      if (!is_hex(byte)) return false;
      return --left_ > 0 || go(State::kString);
    case State::kLiteral:
      if (byte != literal_.front()) return false;
      literal_.remove_prefix(1);
      return !literal_.empty() || go(State::kAfterValue);
    case State::kMinus:
    case State::kZero:
    case State::kInteger:
    case State::kPoint:
    case State::kFraction:
    case State::kExponent:
    case State::kExponentSign:
    case State::kExponentDigits: return push_number(byte);
    default: return push_structure(byte);
  }
}

/// Between values.
bool JsonAutomaton::push_structure(char byte) noexcept {
  if (state_ == State::kDone) return false;
  if (byte == ' ' || byte == '\n' || byte == '\t' || byte == '\r') return ++spaces_ <= kMaxSpaces;
  spaces_ = 0;
  switch (state_) {
    case State::kStart: return byte == '{' && open(true);
    case State::kFirstKey: return byte == '}' ? close(true) : byte == '"' && begin_string(true);
    case State::kKey: return byte == '"' && begin_string(true);
    case State::kColon: return byte == ':' && go(State::kValue);
    case State::kFirstItem: return byte == ']' ? close(false) : begin_value(byte);
    case State::kValue: return begin_value(byte);
    default: break;  // kAfterValue
  }
  const bool in_object = (objects_ >> (depth_ - 1U) & 1U) != 0;
  if (byte == ',') return go(in_object ? State::kKey : State::kValue);
  return byte == (in_object ? '}' : ']') && close(in_object);
}

bool JsonAutomaton::open(bool object) noexcept {
  if (depth_ == kMaxDepth) return false;
  const uint32_t bit = uint32_t{1} << depth_;
  objects_ = object ? objects_ | bit : objects_ & ~bit;
  ++depth_;
  return go(object ? State::kFirstKey : State::kFirstItem);
}

bool JsonAutomaton::close(bool object) noexcept {
  if ((objects_ >> (depth_ - 1U) & 1U) != (object ? 1U : 0U)) return false;
  --depth_;
  return go(depth_ == 0 ? State::kDone : State::kAfterValue);
}

bool JsonAutomaton::begin_value(char byte) noexcept {
  const auto literal = [this](std::string_view rest) {
    literal_ = rest;
    return go(State::kLiteral);
  };
  switch (byte) {
    case '{': return open(true);
    case '[': return open(false);
    case '"': return begin_string(false);
    case 't': return literal("rue");
    case 'f': return literal("alse");
    case 'n': return literal("ull");
    case '-': return go(State::kMinus);
    case '0': return go(State::kZero);
    default: return is_digit(byte) && go(State::kInteger);
  }
}

bool JsonAutomaton::begin_string(bool key) noexcept {
  key_ = key;
  left_ = 0;
  return go(State::kString);
}

/// Well-formed UTF-8 alone (the Unicode standard's table 3-7).
bool JsonAutomaton::push_string(unsigned char byte) noexcept {
  if (left_ > 0) {
    if (byte < low_ || byte > high_) return false;
    low_ = 0x80;
    high_ = 0xBF;
    --left_;
    return true;
  }
  if (byte == '"') return go(key_ ? State::kColon : State::kAfterValue);
  if (byte == '\\') return go(State::kEscape);
  if (byte < 0x80) return byte >= 0x20;
  if (byte < 0xC2 || byte > 0xF4) return false;
  left_ = byte < 0xE0 ? 1 : byte < 0xF0 ? 2 : 3;
  low_ = byte == 0xE0 ? 0xA0 : byte == 0xF0 ? 0x90 : 0x80;
  high_ = byte == 0xED ? 0x9F : byte == 0xF4 ? 0x8F : 0xBF;
  return true;
}

bool JsonAutomaton::push_escape(char byte) noexcept {
  if (byte == 'u') {
    left_ = 4;
    return go(State::kHex);
  }
  constexpr std::string_view kEscapes = "\"\\/bfnrt";
  return kEscapes.find(byte) != std::string_view::npos && go(State::kString);
}

bool JsonAutomaton::push_number(char byte) noexcept {
  switch (state_) {
    case State::kMinus: return byte == '0' ? go(State::kZero) : is_digit(byte) && go(State::kInteger);
    case State::kPoint: return is_digit(byte) && go(State::kFraction);
    case State::kExponent:
      if (byte == '+' || byte == '-') return go(State::kExponentSign);
      [[fallthrough]];
    case State::kExponentSign:
      left_ = kMaxExponentDigits - 1;
      return is_digit(byte) && go(State::kExponentDigits);
    default: break;  // the number may end here
  }
  if (is_digit(byte)) {
    if (state_ == State::kExponentDigits) return left_-- > 0;
    return state_ != State::kZero;
  }
  const bool integer = state_ == State::kZero || state_ == State::kInteger;
  if (byte == '.') return integer && go(State::kPoint);
  if (byte == 'e' || byte == 'E') return state_ != State::kExponentDigits && go(State::kExponent);
  state_ = State::kAfterValue;
  return push_structure(byte);
}

}  // namespace facet::text
