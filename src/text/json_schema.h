// JSON Schemas, compiled for generating what they describe.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace facet::text {

/// A JSON Schema (draft 2020-12) as a graph of values. Supported: type, properties, required,
/// additionalProperties, items, minItems, maxItems, minLength, maxLength, enum, const, anyOf, allOf of one,
/// $ref into the same document. Annotations are ignored; any other keyword is refused, since an answer that
/// is held to less than was asked for would look as if it were held to all of it.
///
/// What is generated is a part of what a schema allows: properties come in the order in which it lists them,
/// and an object that names some and does not mention additionalProperties has no others.
class JsonSchema {
 public:
  using Index = uint16_t;
  static constexpr Index kNone = UINT16_MAX;
  static constexpr uint32_t kUnbounded = UINT32_MAX;
  /// Containers inside containers, and what a value without end counts as.
  static constexpr int kMaxDepth = 32;
  static constexpr uint8_t kNever = UINT8_MAX;
  /// Bounds on schemas.
  static constexpr size_t kMaxValues = 4096;
  static constexpr size_t kMaxAlternatives = 32;
  static constexpr size_t kMaxProperties = 1024;
  static constexpr uint32_t kMaxItems = UINT16_MAX - 1;

  struct Property {
    std::string key;  ///< its JSON after the opening quotation mark, the closing one included
    Index value = kNone;
    bool required = false;
  };

  /// One form that a value may take.
  struct Shape {
    enum class Type : uint8_t { kLiteral, kString, kNumber, kInteger, kObject, kArray };
    Type type = Type::kLiteral;
    uint8_t depth = kNever;             ///< levels of containers in the shallowest such value
    uint32_t least = 0;                 ///< code points; items; properties up to the last that is required
    uint32_t most = kUnbounded;         ///< code points; items
    Index rest = kNone;                 ///< an array's items; an object's members that it does not name
    std::vector<Property> properties;   ///< kObject: in the order in which they come
    std::vector<std::string> literals;  ///< kLiteral: JSON texts, sorted, all different
  };

  /// Any of these shapes.
  struct Value {
    std::vector<Index> shapes;
    uint8_t depth = kNever;  ///< the least of its shapes'
  };

  /// Throws Error{kBadInput} that names the place in the schema and what is wrong there. Takes a document
  /// whose objects name no key twice.
  explicit JsonSchema(const nlohmann::ordered_json& schema);
  /// Any object.
  [[nodiscard]] static JsonSchema any_object();

  [[nodiscard]] const Value& value(Index index) const noexcept { return values_[index]; }
  [[nodiscard]] const Shape& shape(Index index) const noexcept { return shapes_[index]; }
  static constexpr Index kRoot = 0;

 private:
  class Compiler;

  std::vector<Value> values_;
  std::vector<Shape> shapes_;
};

}  // namespace facet::text
