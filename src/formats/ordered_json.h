// JSON whose objects keep the order in which they were written.
#pragma once

#include <nlohmann/json.hpp>
#include <span>
#include <string_view>

#include "formats/json.h"

namespace facet {

using OrderedJson = nlohmann::ordered_json;

/// The value that the keys of `path` lead to in the object `text`, null when there is none. Limits concern
/// that value; `max_members` must be set, since the time an object takes grows with the square of its
/// members. Throws as parse_json() does.
[[nodiscard]] OrderedJson parse_ordered_member(std::string_view text, std::string_view source,
                                               std::span<const std::string_view> path,
                                               const JsonLimits& limits);

}  // namespace facet
