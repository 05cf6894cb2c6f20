// What JSON Schema says of a value, written as plainly as it is defined; and schemas to try it on.
#pragma once

#include <nlohmann/json.hpp>
#include <random>

namespace facet::testing {

/// Whether `value` is valid for `schema`, a part of `root`: for the keywords that text::JsonSchema supports.
[[nodiscard]] bool satisfies(const nlohmann::ordered_json& value, const nlohmann::ordered_json& schema,
                             const nlohmann::ordered_json& root);

/// A schema of supported keywords; perhaps one that nothing satisfies.
[[nodiscard]] nlohmann::ordered_json random_schema(std::mt19937& random, int depth);

}  // namespace facet::testing
