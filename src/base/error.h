// The one exception type that crosses an API boundary. Kernels never throw.
#pragma once

#include <stdexcept>
#include <string>

namespace facet {

/// What went wrong; the value is the process's exit code.
enum class ErrorCode : int {
  kFailed = 1,        ///< the check or the run failed
  kUsage = 2,         ///< the command line makes no sense
  kBadInput = 3,      ///< a bad model, tokenizer, trace, prompt or request
  kDevice = 4,        ///< no such device, or not enough memory
  kInterrupted = 130  ///< stopped by the user
};

/// An error a person can act on: one line that says what, where, expected and got.
class Error : public std::runtime_error {
 public:
  Error(ErrorCode code, const std::string& message) : std::runtime_error(message), code_(code) {}

  [[nodiscard]] ErrorCode code() const noexcept { return code_; }
  [[nodiscard]] int exit_code() const noexcept { return static_cast<int>(code_); }

 private:
  ErrorCode code_;
};

/// Shorthand for the commonest kind: untrusted bytes that do not hold what they should.
[[nodiscard]] inline Error bad_input(const std::string& message) {
  return Error(ErrorCode::kBadInput, message);
}

}  // namespace facet
