#include "server/http_message.h"

#include <nlohmann/json.hpp>

namespace facet::server {
namespace {

std::string_view error_type(int status) {
  switch (status) {
    case 401: return "authentication_error";
    case 403: return "permission_error";
    case 404: return "not_found_error";
    case 429: return "rate_limit_error";
    default: return status < 500 ? "invalid_request_error" : "server_error";
  }
}

}  // namespace

HttpResponse error_response(const ApiError& error) {
  const auto text_or_null = [](const std::string& text) {
    return text.empty() ? nlohmann::json(nullptr) : nlohmann::json(text);
  };
  const nlohmann::ordered_json body = {{"error",
                                        {{"message", error.what()},
                                         {"type", error_type(error.status())},
                                         {"param", text_or_null(error.param())},
                                         {"code", text_or_null(error.code())}}}};
  HttpResponse response;
  response.status = error.status();
  response.body = body.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  if (error.status() == 429 || error.status() == 503) response.headers.emplace_back("Retry-After", "1");
  if (error.status() == 401) response.headers.emplace_back("WWW-Authenticate", "Bearer");
  return response;
}

}  // namespace facet::server
