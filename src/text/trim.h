// Text without the white space around it.
#pragma once

#include <string_view>

namespace facet::text {

/// `text` (UTF-8) without leading and trailing white space, by Unicode's White_Space and the separators
/// U+001C to U+001F: what Python's str.strip, and so Jinja's `trim`, takes off.
[[nodiscard]] std::string_view trim(std::string_view text) noexcept;

}  // namespace facet::text
