#include "server/access_policy.h"

#include <algorithm>
#include <cctype>

#include "server/asio.h"

namespace facet::server {
namespace {

bool equal_ignoring_case(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](unsigned char x, unsigned char y) { return std::tolower(x) == std::tolower(y); });
}

bool is_port(std::string_view text) {
  return !text.empty() && text.size() <= 5 &&
         std::all_of(text.begin(), text.end(), [](unsigned char c) { return std::isdigit(c) != 0; });
}

/// The host of "host", "host:port", "[v6]" or "[v6]:port"; empty when it is none of them.
std::string_view without_port(std::string_view host) {
  if (host.starts_with('[')) {
    const size_t end = host.find(']');
    if (end == std::string_view::npos) return {};
    const std::string_view rest = host.substr(end + 1);
    if (!rest.empty() && (rest.front() != ':' || !is_port(rest.substr(1)))) return {};
    return host.substr(1, end - 1);
  }
  const size_t colon = host.find(':');
  if (colon == std::string_view::npos) return host;
  return is_port(host.substr(colon + 1)) ? host.substr(0, colon) : std::string_view{};
}

bool is_address(std::string_view host) {
  error_code error;
  net::ip::make_address(std::string(host), error);
  return !error;
}

}  // namespace

bool AccessPolicy::host_allowed(std::string_view host) const {
  const std::string_view name = without_port(host);
  if (name.empty()) return false;
  if (equal_ignoring_case(name, "localhost") || is_address(name)) return true;
  return std::any_of(options_.allowed_hosts.begin(), options_.allowed_hosts.end(),
                     [&](const std::string& allowed) { return equal_ignoring_case(name, allowed); });
}

bool AccessPolicy::origin_allowed(std::string_view origin, std::string_view host) const {
  for (const std::string_view scheme : {"http://", "https://"})
    if (origin.starts_with(scheme) && equal_ignoring_case(origin.substr(scheme.size()), host)) return true;
  return origin_listed(origin);
}

bool AccessPolicy::origin_listed(std::string_view origin) const {
  return std::any_of(
      options_.allowed_origins.begin(), options_.allowed_origins.end(),
      [&](const std::string& allowed) { return allowed == "*" || equal_ignoring_case(origin, allowed); });
}

bool AccessPolicy::key_accepted(std::string_view authorization) const {
  if (options_.api_key.empty()) return true;
  constexpr std::string_view kScheme = "bearer ";
  if (authorization.size() < kScheme.size() ||
      !equal_ignoring_case(authorization.substr(0, kScheme.size()), kScheme))
    return false;
  return equal_in_constant_time(authorization.substr(kScheme.size()), options_.api_key);
}

bool equal_in_constant_time(std::string_view given, std::string_view secret) noexcept {
  if (secret.empty()) return given.empty();
  // volatile: the loop must not end early.
  volatile unsigned difference = given.size() == secret.size() ? 0 : 1;
  for (size_t i = 0; i < given.size(); ++i)
    difference = difference | static_cast<unsigned>(static_cast<unsigned char>(given[i]) ^
                                                    static_cast<unsigned char>(secret[i % secret.size()]));
  return difference == 0;
}

bool is_loopback(std::string_view host) {
  if (equal_ignoring_case(host, "localhost")) return true;
  error_code error;
  const auto address = net::ip::make_address(std::string(host), error);
  return !error && address.is_loopback();
}

}  // namespace facet::server
