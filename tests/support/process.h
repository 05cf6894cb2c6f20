// Running the built program.
#pragma once

#include <string>
#include <vector>

namespace facet::testing {

struct ProcessResult {
  int exit_code = -1;  ///< 128 + signal when a signal ended it
  std::string out;
  std::string err;
};

struct ProcessOptions {
  std::string input;                     ///< for stdin
  std::vector<std::string> environment;  ///< "NAME=value", on top of the test's own
  int interrupt_after_ms = 0;            ///< send SIGINT then; 0: never
  int timeout_s = 120;                   ///< then SIGKILL
};

/// Runs `facet` with these arguments.
[[nodiscard]] ProcessResult run_facet(const std::vector<std::string>& arguments,
                                      const ProcessOptions& options = {});

/// Every failure is one line on stderr, whatever the command: `result` must be one, with `code` and
/// `message`.
void expect_error(const ProcessResult& result, int code, const std::string& message);

}  // namespace facet::testing
