// Well-formed UTF-8, as the Unicode standard's table 3-7 defines it.
#pragma once

#include <cstddef>
#include <string_view>

namespace facet::text {

/// U+FFFD, what an invalid byte decodes to.
inline constexpr std::string_view kReplacementCharacter = "\xEF\xBF\xBD";

/// Bytes (1 to 4) of the code point that starts `bytes`, or 0 when `bytes` is empty or starts with
/// something that is not one well-formed code point: a lone continuation byte, an overlong form, a
/// surrogate, a value over U+10FFFF, a sequence cut short.
[[nodiscard]] size_t code_point_length(std::string_view bytes) noexcept;

/// Whether `bytes` is a code point cut short: not well-formed, but a proper prefix of something that is.
[[nodiscard]] bool is_incomplete_code_point(std::string_view bytes) noexcept;

/// Whether the whole of `bytes` is well-formed.
[[nodiscard]] bool is_utf8(std::string_view bytes) noexcept;

}  // namespace facet::text
