// JSON that follows a schema, byte by byte.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "text/json_schema.h"

namespace facet::text {

/// Says of every byte whether it can come next in a JSON text (RFC 8259) that a schema describes. Whatever
/// has been let through can be completed. So that a model that is held to it comes to an end, containers nest
/// at most 32 deep, numbers have at most 18 digits on either side of the point, and white space is that of
/// pretty printing: a line break and four spaces a level at most.
///
/// Where a schema allows several forms, a thread follows each until only one is left. Cheap to copy for every
/// try.
class JsonAutomaton {
 public:
  static constexpr uint32_t kMaxIndent = 4;
  static constexpr uint32_t kMaxDigits = 18;
  static constexpr uint32_t kMaxExponentDigits = 2;

  /// `schema` must outlive this.
  explicit JsonAutomaton(const JsonSchema& schema);

  /// Takes the next byte; false, and from then on useless, when it cannot come next.
  [[nodiscard]] bool push(char byte);
  /// Whether the text may end here.
  [[nodiscard]] bool can_end() const noexcept;
  /// Whether it must.
  [[nodiscard]] bool complete() const noexcept;

  bool operator==(const JsonAutomaton&) const = default;

 private:
  using Index = JsonSchema::Index;
  using Shape = JsonSchema::Shape;

  enum class State : uint8_t {
    kValue,      // a value begins
    kFirstItem,  // a value begins, or ]
    kFirstKey,   // a key begins, or }
    kKey,        // a key begins, after a comma
    kColon,
    kAfterValue,  // , ] }
    kLiteral,     // one of the shape's literals
    kNamedKey,    // one of the properties that the object names
    kString,
    kEscape,        // after a backslash
    kHex,           // the first digit of \uXXXX
    kSurrogateHex,  // the second after a D, which must make no surrogate
    kHexRest,
    kMinus,
    kZero,  // nothing but . e may follow a leading 0
    kInteger,
    kPoint,
    kFraction,
    kExponent,
    kExponentSign,
    kExponentDigits,
    kDone
  };

  /// A container that is open.
  struct Frame {
    Index shape = 0;
    uint16_t next = 0;  // the first property that may still come; how many items there are
    bool operator==(const Frame&) const = default;
  };

  /// Where one way to read the text so far stands.
  struct Scalars {
    State state = State::kValue;
    bool key = false;  // the string is a key
    uint8_t depth = 0;
    uint8_t spaces = 0;        // of the run of white space at the end
    uint8_t left = 0;          // bytes of a code point, or digits of \u, still to come
    unsigned char low = 0x80;  // bounds of a code point's next byte
    unsigned char high = 0xBF;
    Index value = JsonSchema::kRoot;  // what comes next, or after the colon
    Index shape = 0;                  // of what is being read
    Index text = JsonSchema::kNone;   // a literal or property that begins with what has been read of it
    uint32_t count = 0;               // bytes of `text`, code points of a string, digits
    bool operator==(const Scalars&) const = default;
  };
  struct Thread : Scalars {
    std::array<Frame, JsonSchema::kMaxDepth> frames;  // [depth], the outermost first

    Thread() = default;
    ~Thread() = default;
    Thread(const Thread& other) : Scalars(other) { copy_frames(other); }
    Thread& operator=(const Thread& other) {
      Scalars::operator=(other);
      copy_frames(other);
      return *this;
    }
    bool operator==(const Thread& other) const noexcept;

    [[nodiscard]] Frame& top() noexcept { return frames[depth - 1U]; }
    [[nodiscard]] const Frame& top() const noexcept { return frames[depth - 1U]; }

   private:
    /// Those that are open alone: copying is most of the automaton's cost.
    void copy_frames(const Thread& other) noexcept {
      for (unsigned i = 0; i < other.depth; ++i) frames[i] = other.frames[i];
    }
  };

  [[nodiscard]] const Shape& shape_of(const Thread& t) const noexcept { return schema_->shape(t.shape); }
  [[nodiscard]] const Shape& container(const Thread& t) const noexcept {
    return schema_->shape(t.top().shape);
  }
  [[nodiscard]] bool fits(const Thread& t, Index value) const noexcept;
  [[nodiscard]] bool may_close(const Thread& t) const noexcept;
  [[nodiscard]] bool takes_named_key(const Thread& t) const noexcept;
  [[nodiscard]] bool takes_other_key(const Thread& t) const noexcept;
  [[nodiscard]] bool takes_item(const Thread& t) const noexcept;
  [[nodiscard]] uint32_t most_spaces(const Thread& t) const noexcept;
  [[nodiscard]] bool may_end(const Thread& t) const noexcept;

  void fork_value(const Thread& from, char byte);
  void fork_key(const Thread& from);
  void drop_equal_threads();
  bool begin(Thread& t, Index shape, char byte) const noexcept;
  void open(Thread& t, Index shape, State state) const noexcept;
  void end_value(Thread& t) const noexcept;

  bool advance(Thread& t, char byte) const noexcept;
  bool push_structure(Thread& t, char byte) const noexcept;
  bool push_literal(Thread& t, char byte) const noexcept;
  bool push_named_key(Thread& t, char byte) const noexcept;
  bool push_string(Thread& t, unsigned char byte) const noexcept;
  bool push_code_point(Thread& t, unsigned char byte) const noexcept;
  bool push_escape(Thread& t, char byte) const noexcept;
  bool push_hex(Thread& t, char byte) const noexcept;
  bool push_number(Thread& t, char byte) const noexcept;
  bool is_other_key(Thread& t, char byte) const noexcept;

  const JsonSchema* schema_;
  std::vector<Thread> threads_;
};

}  // namespace facet::text
