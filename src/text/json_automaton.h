// JSON, byte by byte.
#pragma once

#include <cstdint>
#include <string_view>

namespace facet::text {

/// Says of every byte whether it can come next in a JSON object (RFC 8259). Small enough to copy for every
/// try. Containers nest at most 32 deep and white space runs at most 16 bytes long, so that a model that is
/// held to it comes to an end.
class JsonAutomaton {
 public:
  static constexpr int kMaxDepth = 32;
  static constexpr int kMaxSpaces = 16;
  static constexpr int kMaxExponentDigits = 2;

  /// Takes the next byte; false, and from then on useless, when it cannot come next.
  [[nodiscard]] bool push(char byte) noexcept;
  /// Whether the object is complete: nothing may follow.
  [[nodiscard]] bool complete() const noexcept { return state_ == State::kDone; }

 private:
  enum class State : uint8_t {
    kStart,      // of the whole: {
    kValue,      // any value
    kFirstItem,  // a value or ]
    kFirstKey,   // a key or }
    kKey,        // after a comma
    kColon,
    kAfterValue,  // , ] }
    kString,
    kEscape,  // after a backslash
    kHex,     // \uXXXX
    kMinus,
    kZero,  // nothing but . e may follow a leading 0
    kInteger,
    kPoint,
    kFraction,
    kExponent,
    kExponentSign,
    kExponentDigits,
    kLiteral,  // true, false, null
    kDone
  };

  bool open(bool object) noexcept;
  bool close(bool object) noexcept;
  bool begin_value(char byte) noexcept;
  bool begin_string(bool key) noexcept;
  bool push_string(unsigned char byte) noexcept;
  bool push_escape(char byte) noexcept;
  bool push_number(char byte) noexcept;
  bool push_structure(char byte) noexcept;
  bool go(State state) noexcept;

  State state_ = State::kStart;
  bool key_ = false;  // the string is a key
  uint8_t depth_ = 0;
  uint8_t spaces_ = 0;        // of the run of white space at the end
  uint8_t left_ = 0;          // bytes of a code point, or digits of \u, still to come
  unsigned char low_ = 0x80;  // bounds of a code point's next byte
  unsigned char high_ = 0xBF;
  uint32_t objects_ = 0;      // bit d: the container at depth d is an object
  std::string_view literal_;  // what is left of it
};

}  // namespace facet::text
