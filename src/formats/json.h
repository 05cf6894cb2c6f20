// JSON from outside: parsed under limits, read through typed getters whose errors name the key.
#pragma once

#include <cstdint>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"

namespace facet {

using Json = nlohmann::json;

/// What a document may cost. A JSON value takes tens of bytes of memory, so their number is bounded, too.
struct JsonLimits {
  size_t max_bytes = size_t{16} << 20;
  size_t max_values = size_t{1} << 20;
  int max_depth = 64;
  size_t max_members = SIZE_MAX;  ///< of one object
  bool unique_keys = true;        ///< refuse an object that names a key twice
};

/// Parses UTF-8 JSON. Throws Error{kBadInput}, prefixed with `source`, on malformed text, a limit passed or
/// a duplicate key.
[[nodiscard]] Json parse_json(std::string_view text, std::string_view source, const JsonLimits& limits = {});

/// Maps and parses a file; `source` is its path.
[[nodiscard]] Json parse_json_file(const std::filesystem::path& path, const JsonLimits& limits = {});

/// A value inside a document, together with the way to it: "config.json: text_config.head_dim". Borrows the
/// document. All getters throw Error{kBadInput} that names the way, what was expected and what is there.
class JsonView {
 public:
  JsonView(const Json& value, std::string source) : value_(&value), source_(std::move(source)) {}

  /// The member `key` of an object; it must be there and not null.
  [[nodiscard]] JsonView at(std::string_view key) const;
  /// The member `key` of an object, or nothing when it is absent or null.
  [[nodiscard]] std::optional<JsonView> find(std::string_view key) const;
  /// Element `index` of an array; must be in range.
  [[nodiscard]] JsonView at(size_t index) const;

  /// Length of an array.
  [[nodiscard]] size_t array_size() const;
  /// Checks that this is an object and returns it, to iterate.
  [[nodiscard]] const Json& object() const;

  [[nodiscard]] int integer(int64_t low = 0, int64_t high = std::numeric_limits<int>::max()) const;
  [[nodiscard]] double number() const;           ///< finite
  [[nodiscard]] double positive_number() const;  ///< finite and above 0
  [[nodiscard]] bool boolean() const;
  [[nodiscard]] const std::string& string() const;

  [[nodiscard]] bool is_object() const noexcept { return value_->is_object(); }
  [[nodiscard]] bool is_null() const noexcept { return value_->is_null(); }
  [[nodiscard]] bool is_array() const noexcept { return value_->is_array(); }
  [[nodiscard]] bool is_string() const noexcept { return value_->is_string(); }
  [[nodiscard]] bool is_boolean() const noexcept { return value_->is_boolean(); }

  /// Where this value is: "FILE: a.b[3]".
  [[nodiscard]] std::string where() const;
  /// An error at this value: "FILE: a.b: expected EXPECTED, got GOT".
  [[nodiscard]] Error unexpected(std::string_view expected) const;

  // Members with a default for an absent or null key.
  [[nodiscard]] int integer_or(std::string_view key, int fallback, int64_t low = 0,
                               int64_t high = std::numeric_limits<int>::max()) const;
  [[nodiscard]] double number_or(std::string_view key, double fallback) const;
  [[nodiscard]] bool boolean_or(std::string_view key, bool fallback) const;
  [[nodiscard]] std::string string_or(std::string_view key, std::string_view fallback) const;

 private:
  JsonView(const Json& value, std::string source, std::string path)
      : value_(&value), source_(std::move(source)), path_(std::move(path)) {}

  const Json* value_;
  std::string source_;  // the file
  std::string path_;    // "a.b[3]", empty at the root
};

}  // namespace facet
