// Characters of ASCII, whatever the locale.
#pragma once

namespace facet::text {

constexpr bool is_digit(char byte) noexcept {
  return byte >= '0' && byte <= '9';
}

}  // namespace facet::text
