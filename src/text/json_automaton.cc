#include "text/json_automaton.h"

#include <algorithm>
#include <utility>

#include "text/ascii.h"

namespace facet::text {
namespace {

/// Threads beyond these are dropped: what the others let through is still right.
constexpr size_t kMaxThreads = JsonSchema::kMaxAlternatives;

bool is_space(char byte) noexcept {
  return byte == ' ' || byte == '\n' || byte == '\t' || byte == '\r';
}

bool is_hex(char byte) noexcept {
  return is_digit(byte) || (byte >= 'a' && byte <= 'f') || (byte >= 'A' && byte <= 'F');
}

/// Whether `text` begins with `begin` and goes on with `byte`.
bool goes_on(std::string_view text, std::string_view begin, char byte) noexcept {
  return text.size() > begin.size() && text[begin.size()] == byte && text.substr(0, begin.size()) == begin;
}

}  // namespace

bool JsonAutomaton::Thread::operator==(const Thread& other) const noexcept {
  return Scalars::operator==(other) &&
         std::equal(frames.begin(), frames.begin() + depth, other.frames.begin());
}

JsonAutomaton::JsonAutomaton(const JsonSchema& schema) : schema_(&schema), threads_(1) {}

bool JsonAutomaton::can_end() const noexcept {
  return std::any_of(threads_.begin(), threads_.end(), [this](const Thread& t) { return may_end(t); });
}

bool JsonAutomaton::complete() const noexcept {
  return std::all_of(threads_.begin(), threads_.end(),
                     [](const Thread& t) { return t.state == State::kDone; });
}

bool JsonAutomaton::may_end(const Thread& t) const noexcept {
  if (t.depth > 0) return false;
  switch (t.state) {
    case State::kDone:
    case State::kZero:
    case State::kInteger:
    case State::kFraction:
    case State::kExponentDigits: return true;
    case State::kLiteral: return shape_of(t).literals[t.text].size() == t.count;
    default: return false;
  }
}

bool JsonAutomaton::push(char byte) {
  const size_t count = threads_.size();
  size_t kept = 0;
  for (size_t i = 0; i < count; ++i) {
    const State state = threads_[i].state;
    if ((state == State::kValue || state == State::kFirstItem) && !is_space(byte) && byte != ']') {
      fork_value(Thread(threads_[i]), byte);
    } else if ((state == State::kKey || state == State::kFirstKey) && byte == '"') {
      fork_key(Thread(threads_[i]));
    } else if (advance(threads_[i], byte)) {
      if (kept != i) threads_[kept] = threads_[i];
      ++kept;
    }
  }
  const auto begin = threads_.begin();
  threads_.erase(begin + static_cast<std::ptrdiff_t>(kept), begin + static_cast<std::ptrdiff_t>(count));
  if (threads_.size() > 1) drop_equal_threads();
  if (threads_.size() > kMaxThreads) threads_.resize(kMaxThreads);
  return !threads_.empty();
}

/// Threads meet again at the end of a key or value.
void JsonAutomaton::drop_equal_threads() {
  for (size_t i = 1; i < threads_.size();) {
    const State state = threads_[i].state;
    const bool ended = state == State::kAfterValue || state == State::kDone || state == State::kColon;
    const auto at = threads_.begin() + static_cast<std::ptrdiff_t>(i);
    if (ended && std::find(threads_.begin(), at, *at) != at) {
      threads_.erase(at);
    } else {
      ++i;
    }
  }
}

/// A thread for each shape of the value that begins with `byte`.
void JsonAutomaton::fork_value(const Thread& from, char byte) {
  if (from.state == State::kFirstItem && !takes_item(from)) return;
  for (const Index shape : schema_->value(from.value).shapes) {
    if (from.depth + schema_->shape(shape).depth > JsonSchema::kMaxDepth) continue;
    Thread next = from;
    next.spaces = 0;
    if (begin(next, shape, byte)) threads_.push_back(next);
  }
}

/// A thread for the keys that the object names, and one for any other.
void JsonAutomaton::fork_key(const Thread& from) {
  Thread next = from;
  next.spaces = 0;
  next.left = 0;
  next.count = 0;
  if (takes_named_key(from)) {
    next.state = State::kNamedKey;
    next.text = JsonSchema::kNone;
    threads_.push_back(next);
  }
  if (takes_other_key(from)) {
    next.state = State::kString;
    next.key = true;
    next.text = container(from).properties.empty() ? JsonSchema::kNone : Index{0};
    threads_.push_back(next);
  }
}

/// Whether `value` can be completed inside the containers that are open.
bool JsonAutomaton::fits(const Thread& t, Index value) const noexcept {
  return value != JsonSchema::kNone && t.depth + schema_->value(value).depth <= JsonSchema::kMaxDepth;
}

bool JsonAutomaton::may_close(const Thread& t) const noexcept {
  return t.top().next >= container(t).least;
}

bool JsonAutomaton::takes_item(const Thread& t) const noexcept {
  return t.top().next < container(t).most && fits(t, container(t).rest);
}

bool JsonAutomaton::takes_named_key(const Thread& t) const noexcept {
  const auto& properties = container(t).properties;
  for (size_t i = t.top().next; i < properties.size(); ++i) {
    if (fits(t, properties[i].value)) return true;
    if (properties[i].required) break;
  }
  return false;
}

bool JsonAutomaton::takes_other_key(const Thread& t) const noexcept {
  return may_close(t) && fits(t, container(t).rest);
}

bool JsonAutomaton::begin(Thread& t, Index shape, char byte) const noexcept {
  t.shape = shape;
  t.count = 0;
  t.left = 0;
  switch (schema_->shape(shape).type) {
    case Shape::Type::kLiteral:
      t.state = State::kLiteral;
      t.text = JsonSchema::kNone;
      return push_literal(t, byte);
    case Shape::Type::kString:
      t.state = State::kString;
      t.key = false;
      return byte == '"';
    case Shape::Type::kNumber:
    case Shape::Type::kInteger:
      t.state = byte == '-' ? State::kMinus : byte == '0' ? State::kZero : State::kInteger;
      t.count = 1;
      return byte == '-' || is_digit(byte);
    case Shape::Type::kObject: open(t, shape, State::kFirstKey); return byte == '{';
    case Shape::Type::kArray: open(t, shape, State::kFirstItem); return byte == '[';
  }
  return false;
}

void JsonAutomaton::open(Thread& t, Index shape, State state) const noexcept {
  t.frames[t.depth++] = {shape, 0};
  t.state = state;
  t.value = schema_->shape(shape).rest;  // an array's first item
}

void JsonAutomaton::end_value(Thread& t) const noexcept {
  t.state = t.depth == 0 ? State::kDone : State::kAfterValue;
  // Equal from here on, whatever came before.
  t.key = false;
  t.shape = 0;
  t.text = JsonSchema::kNone;
  t.value = JsonSchema::kRoot;
  t.count = 0;
  if (t.depth > 0 && container(t).type == Shape::Type::kArray && t.top().next <= JsonSchema::kMaxItems)
    ++t.top().next;
}

bool JsonAutomaton::advance(Thread& t, char byte) const noexcept {
  switch (t.state) {
    case State::kLiteral: return push_literal(t, byte);
    case State::kNamedKey: return push_named_key(t, byte);
    case State::kString: return push_string(t, static_cast<unsigned char>(byte));
    case State::kEscape: return push_escape(t, byte);
    case State::kHex:
    case State::kSurrogateHex:
    case State::kHexRest: return push_hex(t, byte);
    case State::kMinus:
    case State::kZero:
    case State::kInteger:
    case State::kPoint:
    case State::kFraction:
    case State::kExponent:
    case State::kExponentSign:
    case State::kExponentDigits: return push_number(t, byte);
    default: return push_structure(t, byte);
  }
}

/// White space where writers of JSON put it: after what opens or divides, and before what closes.
uint32_t JsonAutomaton::most_spaces(const Thread& t) const noexcept {
  if (t.depth == 0 || t.state == State::kColon) return 0;
  if (t.state == State::kAfterValue && !may_close(t)) return 0;
  if (t.state == State::kValue && container(t).type == Shape::Type::kObject) return 1;
  return 1 + kMaxIndent * t.depth;
}

/// Between keys and values, except where one begins.
bool JsonAutomaton::push_structure(Thread& t, char byte) const noexcept {
  if (t.state == State::kDone) return false;
  if (is_space(byte)) return ++t.spaces <= most_spaces(t);
  const bool spaced = std::exchange(t.spaces, uint8_t{0}) > 0;
  if (t.state == State::kColon) {
    t.state = State::kValue;
    return byte == ':';
  }
  if (t.state != State::kAfterValue && t.state != State::kFirstItem && t.state != State::kFirstKey)
    return false;
  const bool object = container(t).type == Shape::Type::kObject;
  if (byte == (object ? '}' : ']')) {
    if (!may_close(t)) return false;
    --t.depth;
    end_value(t);
    return true;
  }
  if (byte != ',' || t.state != State::kAfterValue || spaced) return false;
  t.state = object ? State::kKey : State::kValue;
  if (object) return takes_named_key(t) || takes_other_key(t);
  t.value = container(t).rest;
  return takes_item(t);
}

/// The literals are sorted: those that begin alike lie together, the shortest first.
bool JsonAutomaton::push_literal(Thread& t, char byte) const noexcept {
  const std::vector<std::string>& literals = shape_of(t).literals;
  const auto begin =
      t.count == 0 ? std::string_view() : std::string_view(literals[t.text]).substr(0, t.count);
  const auto is_before = [&](std::string_view literal) {
    if (const int order = literal.substr(0, begin.size()).compare(begin); order != 0) return order < 0;
    return literal.size() == begin.size() ||
           static_cast<unsigned char>(literal[begin.size()]) < static_cast<unsigned char>(byte);
  };
  const auto found = std::partition_point(literals.begin(), literals.end(), is_before);
  if (found == literals.end() || !goes_on(*found, begin, byte)) {
    if (t.count == 0 || literals[t.text].size() != t.count) return false;
    end_value(t);
    return push_structure(t, byte);
  }
  t.text = static_cast<Index>(found - literals.begin());
  ++t.count;
  const auto next = std::next(found);
  const bool alone = next == literals.end() || next->compare(0, found->size(), *found) != 0;
  if (found->size() == t.count && alone) end_value(t);
  return true;
}

bool JsonAutomaton::push_named_key(Thread& t, char byte) const noexcept {
  const auto& properties = container(t).properties;
  const auto begin =
      t.count == 0 ? std::string_view() : std::string_view(properties[t.text].key).substr(0, t.count);
  for (size_t i = t.top().next; i < properties.size(); ++i) {
    const JsonSchema::Property& property = properties[i];
    if (goes_on(property.key, begin, byte) && fits(t, property.value)) {
      t.text = static_cast<Index>(i);
      if (++t.count < property.key.size()) return true;
      t.top().next = static_cast<uint16_t>(i + 1);
      t.value = property.value;
      t.text = JsonSchema::kNone;
      t.count = 0;
      t.state = State::kColon;
      return true;
    }
    if (property.required) return false;  // it must come first
  }
  return false;
}

/// Whether a key that goes on with `byte` can still become one that the object does not name.
bool JsonAutomaton::is_other_key(Thread& t, char byte) const noexcept {
  const auto& properties = container(t).properties;
  if (properties.empty()) return true;
  if (byte == '\\') return false;  // an escape could spell a name in another way
  if (t.text == JsonSchema::kNone) return true;
  const auto begin = std::string_view(properties[t.text].key).substr(0, t.count);
  const auto found = std::find_if(properties.begin(), properties.end(),
                                  [&](const JsonSchema::Property& p) { return goes_on(p.key, begin, byte); });
  t.text = found == properties.end() ? JsonSchema::kNone : static_cast<Index>(found - properties.begin());
  ++t.count;
  return byte != '"' || found == properties.end();
}

bool JsonAutomaton::push_string(Thread& t, unsigned char byte) const noexcept {
  if (t.key && !is_other_key(t, static_cast<char>(byte))) return false;
  if (t.left > 0) {
    if (byte < t.low || byte > t.high) return false;
    t.low = 0x80;
    t.high = 0xBF;
    --t.left;
    return true;
  }
  if (t.key) {
    if (byte != '"') return push_code_point(t, byte);
    t.value = container(t).rest;
    t.top().next = static_cast<uint16_t>(container(t).properties.size());
    t.key = false;
    t.text = JsonSchema::kNone;
    t.count = 0;
    t.state = State::kColon;
    return true;
  }
  const Shape& shape = shape_of(t);
  if (byte == '"') {
    const bool long_enough = t.count >= shape.least;
    end_value(t);
    return long_enough;
  }
  if (shape.least > 0 || shape.most != JsonSchema::kUnbounded) {
    if (t.count == shape.most) return false;
    ++t.count;
  }
  return push_code_point(t, byte);
}

/// The first byte of a code point or escape. Well-formed UTF-8 alone (the Unicode standard's table 3-7).
bool JsonAutomaton::push_code_point(Thread& t, unsigned char byte) const noexcept {
  if (byte == '\\') t.state = State::kEscape;
  if (byte < 0x80) return byte >= 0x20;
  if (byte < 0xC2 || byte > 0xF4) return false;
  t.left = byte < 0xE0 ? 1 : byte < 0xF0 ? 2 : 3;
  t.low = byte == 0xE0 ? 0xA0 : byte == 0xF0 ? 0x90 : 0x80;
  t.high = byte == 0xED ? 0x9F : byte == 0xF4 ? 0x8F : 0xBF;
  return true;
}

bool JsonAutomaton::push_escape(Thread& t, char byte) const noexcept {
  constexpr std::string_view kEscapes = "\"\\/bfnrt";
  t.state = byte == 'u' ? State::kHex : State::kString;
  return byte == 'u' || kEscapes.find(byte) != std::string_view::npos;
}

/// No surrogates: one alone is no text, and what two of them spell can be written as it is.
bool JsonAutomaton::push_hex(Thread& t, char byte) const noexcept {
  if (!is_hex(byte)) return false;
  switch (t.state) {
    case State::kHex:
      t.state = byte == 'd' || byte == 'D' ? State::kSurrogateHex : State::kHexRest;
      t.left = 3;
      return true;
    case State::kSurrogateHex:
      if (byte < '0' || byte > '7') return false;
      t.state = State::kHexRest;
      [[fallthrough]];
    default: break;
  }
  if (--t.left == 0) t.state = State::kString;
  return true;
}

bool JsonAutomaton::push_number(Thread& t, char byte) const noexcept {
  const auto go = [&t](State state) {
    t.state = state;
    t.count = 1;
    return true;
  };
  switch (t.state) {
    case State::kMinus: return is_digit(byte) && go(byte == '0' ? State::kZero : State::kInteger);
    case State::kPoint: return is_digit(byte) && go(State::kFraction);
    case State::kExponent:
      if (byte == '+' || byte == '-') return go(State::kExponentSign);
      [[fallthrough]];
    case State::kExponentSign: return is_digit(byte) && go(State::kExponentDigits);
    default: break;  // the number may end here
  }
  if (is_digit(byte)) {
    const uint32_t most = t.state == State::kExponentDigits ? kMaxExponentDigits : kMaxDigits;
    return t.state != State::kZero && ++t.count <= most;
  }
  const bool whole = shape_of(t).type == Shape::Type::kInteger;
  const bool integer = t.state == State::kZero || t.state == State::kInteger;
  if (byte == '.') return !whole && integer && go(State::kPoint);
  if (byte == 'e' || byte == 'E') return !whole && t.state != State::kExponentDigits && go(State::kExponent);
  end_value(t);
  return push_structure(t, byte);
}

}  // namespace facet::text
