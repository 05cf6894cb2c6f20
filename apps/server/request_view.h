// A value inside a request's JSON, read with types and limits.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "server/api_error.h"

namespace facet::server {

using Json = nlohmann::json;

/// Borrows the document. Getters throw ApiError{400} that names the field and what was expected of it, never
/// what text it holds.
class RequestView {
 public:
  explicit RequestView(const Json& value, std::string path = {}) : value_(&value), path_(std::move(path)) {}

  /// The member `key` of an object; nothing when it is absent or null.
  [[nodiscard]] std::optional<RequestView> find(std::string_view key) const;
  /// The member `key`, which must be there.
  [[nodiscard]] RequestView at(std::string_view key) const;
  [[nodiscard]] RequestView element(size_t index) const;

  /// Checks that this is an array of `least` to `most` elements and returns their number.
  [[nodiscard]] size_t array(size_t least, size_t most) const;
  [[nodiscard]] const Json& object() const;
  [[nodiscard]] int64_t integer(int64_t low, int64_t high) const;
  [[nodiscard]] float number(double low, double high) const;
  [[nodiscard]] bool boolean() const;
  [[nodiscard]] const std::string& string() const;

  [[nodiscard]] bool is_string() const noexcept { return value_->is_string(); }
  [[nodiscard]] bool is_array() const noexcept { return value_->is_array(); }
  [[nodiscard]] bool is_object() const noexcept { return value_->is_object(); }
  [[nodiscard]] bool is_integer() const noexcept { return value_->is_number_integer(); }
  [[nodiscard]] const Json& json() const noexcept { return *value_; }
  [[nodiscard]] const std::string& path() const noexcept { return path_; }

  /// "PATH: expected EXPECTED, got a TYPE".
  [[nodiscard]] ApiError unexpected(std::string_view expected) const;
  /// "PATH: MESSAGE".
  [[nodiscard]] ApiError error(std::string_view message) const;

 private:
  const Json* value_;
  std::string path_;
};

/// Parses a request's body. Throws ApiError{400} unless it is one JSON object within the limits: 64 deep, no
/// key twice.
[[nodiscard]] Json parse_request(std::string_view body);

}  // namespace facet::server
