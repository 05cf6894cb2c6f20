#include "text/trim.h"

#include <algorithm>
#include <array>
#include <cstddef>

#include "text/utf8.h"

namespace facet::text {
namespace {

constexpr std::array<std::string_view, 29> kSpaces = {
    "\t",     "\n",     "\v",     "\f",     "\r",     "\x1C",   "\x1D",   "\x1E",   "\x1F",   " ",
    "\u0085", "\u00A0", "\u1680", "\u2000", "\u2001", "\u2002", "\u2003", "\u2004", "\u2005", "\u2006",
    "\u2007", "\u2008", "\u2009", "\u200A", "\u2028", "\u2029", "\u202F", "\u205F", "\u3000"};

bool is_space(std::string_view code_point) noexcept {
  return std::find(kSpaces.begin(), kSpaces.end(), code_point) != kSpaces.end();
}

}  // namespace

std::string_view trim(std::string_view text) noexcept {
  while (!text.empty()) {
    const size_t length = std::max<size_t>(code_point_length(text), 1);
    if (!is_space(text.substr(0, length))) break;
    text.remove_prefix(length);
  }
  while (!text.empty()) {
    size_t length = 1;  // of the last code point: back over its continuation bytes
    while (length < std::min<size_t>(text.size(), 4) &&
           (static_cast<unsigned char>(text[text.size() - length]) & 0xC0U) == 0x80U)
      ++length;
    if (!is_space(text.substr(text.size() - length))) break;
    text.remove_suffix(length);
  }
  return text;
}

}  // namespace facet::text
