#include "text/notation_reader.h"

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <system_error>

#include "text/ascii.h"
#include "text/trim.h"
#include "text/utf8.h"

namespace facet::text {
namespace {

constexpr size_t kMaxLevels = 32;
constexpr size_t kMaxWordBytes = 4096;

/// Appends `text` as it stands inside a JSON string.
void append_escaped(std::string_view text, std::string& json) {
  constexpr std::string_view kHex = "0123456789abcdef";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      json += '\\';
      json += c;
    } else if (c == '\n') {
      json += "\\n";
    } else if (byte < 0x20) {
      json += "\\u00";
      json += kHex[byte / 16];
      json += kHex[byte % 16];
    } else {
      json += c;
    }
  }
}

/// Whether `text` is a number by JSON's grammar, and finite as a double.
bool is_json_number(std::string_view text) {
  const char* at = text.data();
  const char* const end = at + text.size();
  const auto digits = [&] {
    const char* const begin = at;
    at = std::find_if_not(at, end, is_digit);
    return at != begin;
  };
  if (at != end && *at == '-') ++at;
  if (at != end && *at == '0') {
    ++at;
  } else if (!digits()) {
    return false;
  }
  if (at != end && *at == '.') {
    ++at;
    if (!digits()) return false;
  }
  if (at != end && (*at == 'e' || *at == 'E')) {
    ++at;
    if (at != end && (*at == '+' || *at == '-')) ++at;
    if (!digits()) return false;
  }
  if (at != end) return false;
  double value = 0;
  return std::from_chars(text.data(), end, value).ec == std::errc();
}

/// The code point as UTF-8; U+FFFD for a surrogate.
std::string to_utf8(uint32_t code_point) {
  const auto byte = [](uint32_t value) { return static_cast<char>(static_cast<unsigned char>(value)); };
  if (code_point >= 0xD800 && code_point < 0xE000) return std::string(kReplacementCharacter);
  if (code_point < 0x80) return {byte(code_point)};
  if (code_point < 0x800) return {byte(0xC0 | code_point >> 6U), byte(0x80 | (code_point & 0x3F))};
  return {byte(0xE0 | code_point >> 12U), byte(0x80 | (code_point >> 6U & 0x3F)),
          byte(0x80 | (code_point & 0x3F))};
}

constexpr bool is_one_of(std::string_view code_point, std::string_view set) {
  return code_point.size() == 1 && set.find(code_point[0]) != std::string_view::npos;
}

}  // namespace

void NotationReader::text(std::string_view piece, std::string& json) {
  while (!piece.empty()) {
    const size_t length = std::max<size_t>(code_point_length(piece), 1);
    read(piece.substr(0, length), json);
    piece.remove_prefix(length);
  }
}

void NotationReader::quote(std::string& json) {
  switch (state_) {
    case State::kKey:
      word_.clear();
      state_ = State::kQuotedKey;
      break;
    case State::kQuotedKey: state_ = State::kColon; break;
    case State::kValue: open_string(State::kString, json); break;
    case State::kString: close_string(json); break;
    case State::kComplete: break;
    default: state_ = State::kMalformed;
  }
}

bool NotationReader::finish(std::string& json) {
  const bool whole = state_ == State::kComplete;
  if (state_ == State::kWord) end_word(json);
  if (string_open_) json += '"';
  if (value_due_) json += "null";
  if (!started_) json += "{}";
  for (; !levels_.empty(); levels_.pop_back()) json += levels_.back().bracket == '{' ? '}' : ']';
  state_ = State::kComplete;
  started_ = true;
  string_open_ = false;
  value_due_ = false;
  return whole;
}

void NotationReader::read(std::string_view code_point, std::string& json) {
  switch (state_) {
    case State::kComplete:
    case State::kMalformed: break;
    case State::kString:
    case State::kQuotedKey: add_to_quoted(code_point, json); break;
    case State::kAsciiKey:
    case State::kAsciiString: read_ascii_quoted(code_point, json); break;
    case State::kBareKey:
      if (code_point == ":")
        end_key(trim(word_), json);
      else if (is_one_of(code_point, "{}[],\""))
        state_ = State::kMalformed;
      else
        add_to_word(code_point);
      break;
    case State::kWord:
      if (is_one_of(code_point, ",}]")) {
        end_word(json);
        read_structure(code_point, json);
      } else if (is_one_of(code_point, "{[\"")) {
        state_ = State::kMalformed;
      } else {
        add_to_word(code_point);
      }
      break;
    case State::kStart:
    case State::kKey:
    case State::kColon:
    case State::kValue:
    case State::kAfterValue:
      if (!trim(code_point).empty()) read_structure(code_point, json);
  }
}

void NotationReader::read_structure(std::string_view code_point, std::string& json) {
  const char c = code_point.size() == 1 ? code_point[0] : '\0';  // '\0': no bracket, no mark
  const State before = state_;
  state_ = State::kMalformed;  // until proven otherwise
  switch (before) {
    case State::kStart:
      if (c == '{') open(c, json);
      break;
    case State::kKey: read_key_start(code_point, json); break;
    case State::kColon:
      if (c == ':') end_key(word_, json);
      break;
    case State::kValue: read_value_start(code_point, json); break;
    default:  // after a value
      if (c == ',')
        state_ = levels_.back().bracket == '{' ? State::kKey : State::kValue;
      else if (c == '}' || c == ']')
        close(c, json);
  }
}

void NotationReader::read_key_start(std::string_view code_point, std::string& json) {
  if (code_point == "}") {
    close('}', json);
  } else if (code_point == "\"") {
    word_.clear();
    state_ = State::kAsciiKey;
  } else if (!is_one_of(code_point, ":,{[]")) {
    word_ = code_point;
    state_ = State::kBareKey;
  }
}

void NotationReader::read_value_start(std::string_view code_point, std::string& json) {
  if (is_one_of(code_point, "{[")) {
    open(code_point[0], json);
  } else if (code_point == "\"") {
    open_string(State::kAsciiString, json);
  } else if (code_point == "]") {
    close(']', json);
  } else if (!is_one_of(code_point, ",}:")) {
    word_ = code_point;
    state_ = State::kWord;
  }
}

void NotationReader::read_ascii_quoted(std::string_view code_point, std::string& json) {
  if (escape_ != Escape::kNone) {
    if (code_point.size() == 1)
      read_escape(code_point[0], json);
    else
      state_ = State::kMalformed;
  } else if (code_point == "\\") {
    escape_ = Escape::kBackslash;
  } else if (code_point != "\"") {
    add_to_quoted(code_point, json);
  } else if (state_ == State::kAsciiKey) {
    state_ = State::kColon;
  } else {
    close_string(json);
  }
}

void NotationReader::read_escape(char c, std::string& json) {
  constexpr std::string_view kFrom = "\"\\/bfnrt";
  constexpr std::string_view kTo = "\"\\/\b\f\n\r\t";
  if (escape_ == Escape::kBackslash) {
    escape_ = Escape::kNone;
    if (const size_t at = kFrom.find(c); at != std::string_view::npos) {
      add_to_quoted(kTo.substr(at, 1), json);
    } else if (c == 'u') {
      escape_ = Escape::kUnicode;
      unicode_.clear();
    } else {
      state_ = State::kMalformed;
    }
    return;
  }
  unicode_ += c;
  uint32_t value = 0;
  const auto [end, error] = std::from_chars(unicode_.data(), unicode_.data() + unicode_.size(), value, 16);
  if (error != std::errc() || end != unicode_.data() + unicode_.size()) {
    state_ = State::kMalformed;
  } else if (unicode_.size() == 4) {
    escape_ = Escape::kNone;
    add_to_quoted(to_utf8(value), json);
  }
}

void NotationReader::add_to_quoted(std::string_view code_point, std::string& json) {
  if (string_open_)
    append_escaped(code_point, json);
  else
    add_to_word(code_point);
}

void NotationReader::add_to_word(std::string_view code_point) {
  word_ += code_point;
  if (word_.size() > kMaxWordBytes) state_ = State::kMalformed;
}

void NotationReader::open(char bracket, std::string& json) {
  if (levels_.size() == kMaxLevels) return;  // still malformed
  begin_value(json);
  json += bracket;
  levels_.push_back({bracket, true});
  started_ = true;
  state_ = bracket == '{' ? State::kKey : State::kValue;
}

void NotationReader::close(char bracket, std::string& json) {
  if (levels_.back().bracket != (bracket == '}' ? '{' : '[')) return;  // still malformed
  json += bracket;
  levels_.pop_back();
  state_ = levels_.empty() ? State::kComplete : State::kAfterValue;
}

void NotationReader::begin_value(std::string& json) {
  value_due_ = false;
  if (levels_.empty() || levels_.back().bracket == '{') return;  // end_key() wrote the comma
  if (!levels_.back().empty) json += ',';
  levels_.back().empty = false;
}

void NotationReader::open_string(State state, std::string& json) {
  begin_value(json);
  json += '"';
  string_open_ = true;
  state_ = state;
}

void NotationReader::close_string(std::string& json) {
  json += '"';
  string_open_ = false;
  state_ = State::kAfterValue;
}

void NotationReader::end_key(std::string_view key, std::string& json) {
  if (!levels_.back().empty) json += ',';
  levels_.back().empty = false;
  json += '"';
  append_escaped(key, json);
  json += "\":";
  value_due_ = true;
  state_ = State::kValue;
}

void NotationReader::end_word(std::string& json) {
  begin_value(json);
  const std::string_view word = trim(word_);
  if (word == "true" || word == "false" || word == "null" || is_json_number(word)) {
    json += word;
  } else {
    json += '"';
    append_escaped(word, json);
    json += '"';
  }
  state_ = State::kAfterValue;
}

}  // namespace facet::text
