#include "base/quote.h"

#include <fmt/format.h>

#include <iterator>

namespace facet {

std::string quote(std::string_view text, size_t limit) {
  std::string out = "\"";
  for (const char c : text.substr(0, limit)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte >= 0x7f || c == '"' || c == '\\')
      fmt::format_to(std::back_inserter(out), "\\x{:02x}", byte);
    else
      out += c;
  }
  return out + (text.size() > limit ? "…\"" : "\"");
}

}  // namespace facet
