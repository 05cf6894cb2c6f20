// Untrusted text inside messages.
#pragma once

#include <string>
#include <string_view>

namespace facet {

/// `text` in double quotes, fit for one line of an error: control characters, quotes, backslashes and
/// bytes above 0x7f become \xNN, and anything past `limit` bytes is cut with an ellipsis.
[[nodiscard]] std::string quote(std::string_view text, size_t limit = 80);

}  // namespace facet
