#include "text/utf8.h"

#include <algorithm>
#include <cstdint>

namespace facet::text {
namespace {

/// What a lead byte demands: the length of its sequence and the range of the second byte, which is where
/// overlong forms, surrogates and values over U+10FFFF show. Length 0: not a lead byte.
struct Lead {
  size_t length;
  uint8_t second_min;
  uint8_t second_max;
};

Lead lead_of(uint8_t byte) noexcept {
  if (byte < 0x80) return {1, 0, 0};
  if (byte < 0xC2) return {0, 0, 0};
  if (byte < 0xE0) return {2, 0x80, 0xBF};
  if (byte == 0xE0) return {3, 0xA0, 0xBF};
  if (byte == 0xED) return {3, 0x80, 0x9F};
  if (byte < 0xF0) return {3, 0x80, 0xBF};
  if (byte == 0xF0) return {4, 0x90, 0xBF};
  if (byte < 0xF4) return {4, 0x80, 0xBF};
  if (byte == 0xF4) return {4, 0x80, 0x8F};
  return {0, 0, 0};
}

/// How many of the first bytes of `bytes` belong to the sequence that `lead` starts.
size_t matching_bytes(std::string_view bytes, Lead lead) noexcept {
  const size_t limit = std::min(bytes.size(), lead.length);
  for (size_t i = 1; i < limit; ++i) {
    const auto byte = static_cast<uint8_t>(bytes[i]);
    const uint8_t low = i == 1 ? lead.second_min : uint8_t{0x80};
    const uint8_t high = i == 1 ? lead.second_max : uint8_t{0xBF};
    if (byte < low || byte > high) return i;
  }
  return limit;
}

}  // namespace

size_t code_point_length(std::string_view bytes) noexcept {
  if (bytes.empty()) return 0;
  const Lead lead = lead_of(static_cast<uint8_t>(bytes[0]));
  if (lead.length == 0 || matching_bytes(bytes, lead) < lead.length) return 0;
  return lead.length;
}

bool is_incomplete_code_point(std::string_view bytes) noexcept {
  if (bytes.empty()) return false;
  const Lead lead = lead_of(static_cast<uint8_t>(bytes[0]));
  return bytes.size() < lead.length && matching_bytes(bytes, lead) == bytes.size();
}

bool is_utf8(std::string_view bytes) noexcept {
  while (!bytes.empty()) {
    const size_t length = code_point_length(bytes);
    if (length == 0) return false;
    bytes.remove_prefix(length);
  }
  return true;
}

}  // namespace facet::text
