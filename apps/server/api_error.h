// A request that cannot be served, and how the client is told.
#pragma once

#include <stdexcept>
#include <string>

namespace facet::server {

/// Becomes OpenAI's {"error": {"message", "type", "param", "code"}} with an HTTP status. Messages name
/// fields, types and sizes, never the text of a prompt.
class ApiError : public std::runtime_error {
 public:
  ApiError(int status, const std::string& message, std::string param = {}, std::string code = {})
      : std::runtime_error(message), status_(status), param_(std::move(param)), code_(std::move(code)) {}

  [[nodiscard]] int status() const noexcept { return status_; }
  [[nodiscard]] const std::string& param() const noexcept { return param_; }  ///< the field; may be empty
  [[nodiscard]] const std::string& code() const noexcept { return code_; }    ///< may be empty

 private:
  int status_;
  std::string param_;
  std::string code_;
};

}  // namespace facet::server
