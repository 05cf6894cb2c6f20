// The web page, as it is in apps/web/index.html.
#pragma once

#include <string>
#include <string_view>

namespace facet::server {

/// The page; its script and style carry `nonce`.
[[nodiscard]] std::string page_html(std::string_view nonce);
/// The Content-Security-Policy to serve it with: script and style of that nonce, connections to this server,
/// and nothing else.
[[nodiscard]] std::string page_security_policy(std::string_view nonce);

}  // namespace facet::server
