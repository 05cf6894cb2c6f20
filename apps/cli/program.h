// The `facet` program: parser, dispatch, and how failures are reported.
#pragma once

namespace facet::cli {

/// Runs the command line. Returns the process's exit code: 0 ok, 1 the check or the run failed, 2 usage, 3
/// bad model or input, 4 device or memory, 130 interrupted.
int run_program(int argc, char** argv);

}  // namespace facet::cli
