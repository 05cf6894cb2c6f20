// What every subcommand of `facet` is made of.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <string>

namespace facet::cli {

/// A subcommand: options are added to its parser when the program starts; run() is called when it was chosen.
class Command {
 public:
  virtual ~Command() = default;
  /// Declares the subcommand on `program` and returns its parser.
  virtual CLI::App* declare(CLI::App& program) = 0;
  /// Does the work. Returns the exit code; throws facet::Error for anything that went wrong.
  virtual int run() = 0;
  /// Whether failures should be reported as JSON on stdout.
  [[nodiscard]] virtual bool json() const { return false; }
};

}  // namespace facet::cli
