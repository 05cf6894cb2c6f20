// Requests and responses between the connection and the API.
#pragma once

#include <chrono>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "server/api_error.h"

namespace facet::server {

/// What one client may cost. Times of one request each, not of one read.
struct HttpLimits {
  size_t body_bytes = size_t{4} << 20;
  size_t header_bytes = size_t{32} << 10;
  size_t headers = 100;
  size_t connections = 1024;
  std::chrono::milliseconds header_timeout{10'000};
  std::chrono::milliseconds body_timeout{30'000};
  std::chrono::milliseconds idle_timeout{75'000};   ///< between requests
  std::chrono::milliseconds write_timeout{30'000};  ///< for a client to take what it is sent
};

struct HttpRequest {
  std::string method;
  std::string path;  ///< without the query
  std::string body;
};

struct HttpResponse {
  int status = 200;
  std::string content_type = "application/json";
  std::string body;
  std::vector<std::pair<std::string, std::string>> headers;
};

/// OpenAI's error object.
[[nodiscard]] HttpResponse error_response(const ApiError& error);

}  // namespace facet::server
