// GGUF's typed key/value pairs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace facet {

/// The types of values, by the numbers that files use.
enum class GgufType : uint32_t {
  kU8 = 0,
  kI8 = 1,
  kU16 = 2,
  kI16 = 3,
  kU32 = 4,
  kI32 = 5,
  kF32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kU64 = 10,
  kI64 = 11,
  kF64 = 12,
};

[[nodiscard]] std::string_view gguf_type_name(GgufType type) noexcept;
/// Bytes of a scalar; 0 for strings and arrays.
[[nodiscard]] size_t gguf_type_size(GgufType type) noexcept;

/// One value as the file stores it: a view, checked to lie inside.
struct GgufValue {
  GgufType type = GgufType::kU8;  ///< of the value, or of an array's elements
  bool is_array = false;
  uint64_t count = 1;                ///< elements of an array
  std::span<const std::byte> bytes;  ///< the payload; strings with their 8-byte lengths
};

/// All pairs of a file. Getters give nothing for an absent key and throw Error{kBadInput} that names the key,
/// what was expected and what is there for a wrong one.
class GgufMetadata {
 public:
  explicit GgufMetadata(std::string label) : label_(std::move(label)) {}

  /// False when the key is there already.
  bool add(std::string_view key, GgufValue value);

  [[nodiscard]] bool contains(std::string_view key) const { return find(key) != nullptr; }
  [[nodiscard]] std::optional<std::string_view> string(std::string_view key) const;
  [[nodiscard]] std::optional<int> integer(std::string_view key, int64_t low, int64_t high) const;
  [[nodiscard]] std::optional<double> number(std::string_view key) const;  ///< finite
  [[nodiscard]] std::optional<bool> boolean(std::string_view key) const;

  /// Elements of an array of exactly `count`, or a scalar for each of them.
  [[nodiscard]] std::optional<std::vector<int>> integers(std::string_view key, size_t count, int64_t low,
                                                         int64_t high) const;
  [[nodiscard]] std::optional<std::vector<bool>> booleans(std::string_view key, size_t count) const;
  [[nodiscard]] std::optional<std::vector<float>> floats(std::string_view key, size_t count) const;

  [[nodiscard]] bool is_array(std::string_view key) const;
  /// Length of an array; 0 when there is none of that name.
  [[nodiscard]] uint64_t array_size(std::string_view key) const;
  /// Calls `visit(index, text)` for each string of an array. The views live as long as the file.
  void each_string(std::string_view key, const std::function<void(size_t, std::string_view)>& visit) const;

  /// An error about a key: "FILE: KEY: expected EXPECTED, got GOT".
  [[nodiscard]] Error unexpected(std::string_view key, std::string_view expected, std::string_view got) const;
  /// For keys that must be there: unwraps or throws.
  template <typename T>
  [[nodiscard]] T required(std::string_view key, std::optional<T> value) const {
    if (!value) throw unexpected(key, "a value", "nothing");
    return *std::move(value);
  }

  [[nodiscard]] const std::string& label() const noexcept { return label_; }

 private:
  [[nodiscard]] const GgufValue* find(std::string_view key) const;
  [[nodiscard]] const GgufValue* find_array(std::string_view key) const;
  [[nodiscard]] int integer_at(std::string_view key, const GgufValue& value, uint64_t index, int64_t low,
                               int64_t high) const;

  std::string label_;
  std::map<std::string, GgufValue, std::less<>> values_;
};

}  // namespace facet
