// Gemma 4's notation for tool arguments to JSON, while it is being generated.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace facet::text {

/// Reads one object, `{key:<|"|>text<|"|>,n:1,b:true,a:[…]}`, in pieces of any size and translates it to
/// JSON on the way. Whatever comes in, what has come out after finish() is one valid JSON object: the
/// reader closes what a broken or unfinished one leaves open.
///
/// Lenient where models are sloppy: white space, keys and strings in ASCII quotes, a comma at the end,
/// words without quotes (read as strings). Nesting is limited to 32, keys and words to 4 KiB.
class NotationReader {
 public:
  /// A piece of well-formed UTF-8. Appends to `json` what is now certain.
  void text(std::string_view piece, std::string& json);

  /// The string delimiter token, <|"|>.
  void quote(std::string& json);

  /// The end of the input: appends what is missing. Returns whether the object was whole and well-formed.
  bool finish(std::string& json);

  /// Whether the object was closed; what follows is ignored.
  [[nodiscard]] bool complete() const noexcept { return state_ == State::kComplete; }

 private:
  enum class State {
    kStart,        // before the object's {
    kKey,          // before a key or }
    kBareKey,      // in a key without quotes
    kQuotedKey,    // in a key between <|"|> tokens
    kAsciiKey,     // in a key in ASCII quotes
    kColon,        // after a key in quotes
    kValue,        // before a value (in a list also ])
    kWord,         // in a number, true, false, null, or a string without quotes
    kString,       // in a string between <|"|> tokens
    kAsciiString,  // in a string in ASCII quotes
    kAfterValue,   // before , or a closing bracket
    kComplete,
    kMalformed  // ignores everything until finish()
  };
  enum class Escape { kNone, kBackslash, kUnicode };
  struct Level {
    char bracket;
    bool empty;
  };

  void read(std::string_view code_point, std::string& json);
  void read_structure(std::string_view code_point, std::string& json);
  void read_key_start(std::string_view code_point, std::string& json);
  void read_value_start(std::string_view code_point, std::string& json);
  void read_ascii_quoted(std::string_view code_point, std::string& json);
  void read_escape(char c, std::string& json);
  void add_to_quoted(std::string_view code_point, std::string& json);
  void add_to_word(std::string_view code_point);
  void open(char bracket, std::string& json);
  void close(char bracket, std::string& json);
  void begin_value(std::string& json);
  void open_string(State state, std::string& json);
  void close_string(std::string& json);
  void end_key(std::string_view key, std::string& json);
  void end_word(std::string& json);

  State state_ = State::kStart;
  Escape escape_ = Escape::kNone;
  std::string unicode_;        // the digits of a \u escape
  std::string word_;           // the key or word being read
  std::vector<Level> levels_;  // brackets that are open in the JSON
  bool started_ = false;       // the object's { is in the JSON
  bool string_open_ = false;   // so is a quotation mark that is not closed
  bool value_due_ = false;     // so is a key without its value
};

}  // namespace facet::text
