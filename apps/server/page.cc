#include "server/page.h"

#include <fmt/format.h>

#include "server/page_data.h"

namespace facet::server {

std::string page_html(std::string_view nonce) {
  constexpr std::string_view kPlace = "{{nonce}}";
  std::string_view rest(reinterpret_cast<const char*>(kPageData), kPageDataSize);
  std::string html;
  for (size_t at = rest.find(kPlace); at != std::string_view::npos; at = rest.find(kPlace)) {
    html += rest.substr(0, at);
    html += nonce;
    rest.remove_prefix(at + kPlace.size());
  }
  html += rest;
  return html;
}

std::string page_security_policy(std::string_view nonce) {
  return fmt::format(
      "default-src 'none'; script-src 'nonce-{0}'; style-src 'nonce-{0}'; img-src data:; connect-src 'self'; "
      "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
      nonce);
}

}  // namespace facet::server
