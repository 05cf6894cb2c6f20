// Who may talk to the server.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace facet::server {

struct AccessOptions {
  std::string api_key;                       ///< empty: none is asked for
  std::vector<std::string> allowed_hosts;    ///< names besides localhost and IP addresses
  std::vector<std::string> allowed_origins;  ///< of web pages elsewhere, as https://name:port; "*" is any
};

/// Decides by headers alone. Against DNS rebinding, where a page's own name is made to point here, a Host
/// must be localhost, an IP address or an allowed name. Against pages elsewhere, an Origin must be the Host's
/// own or an allowed one.
class AccessPolicy {
 public:
  explicit AccessPolicy(AccessOptions options) : options_(std::move(options)) {}

  /// `host` as the Host header has it: a name or address and perhaps a port.
  [[nodiscard]] bool host_allowed(std::string_view host) const;
  /// `origin` as the Origin header has it.
  [[nodiscard]] bool origin_allowed(std::string_view origin, std::string_view host) const;
  /// Whether a page from `origin` is elsewhere and has been allowed: it then needs CORS headers.
  [[nodiscard]] bool origin_listed(std::string_view origin) const;
  /// `authorization` as the header has it: "Bearer KEY". Takes the same time wherever a wrong key differs.
  [[nodiscard]] bool key_accepted(std::string_view authorization) const;

 private:
  AccessOptions options_;
};

/// Whether two texts are equal, in a time that depends on the length of `given` alone.
[[nodiscard]] bool equal_in_constant_time(std::string_view given, std::string_view secret) noexcept;

/// Whether `host`, a name or an address, can only be reached from this machine.
[[nodiscard]] bool is_loopback(std::string_view host);

}  // namespace facet::server
