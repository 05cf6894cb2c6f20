// Every subcommand, in the order in which `facet --help` lists them.
#pragma once

#include <memory>
#include <vector>

#include "cli/command.h"

namespace facet::cli {

std::unique_ptr<Command> make_run_command();
std::unique_ptr<Command> make_chat_command();
std::unique_ptr<Command> make_serve_command();
std::unique_ptr<Command> make_bench_command();
std::unique_ptr<Command> make_perplexity_command();
std::unique_ptr<Command> make_quantize_command();
std::unique_ptr<Command> make_inspect_command();
std::unique_ptr<Command> make_validate_command();
std::unique_ptr<Command> make_tokenize_command();
std::unique_ptr<Command> make_doctor_command();
/// Needs the finished parser: completions are generated from it.
std::unique_ptr<Command> make_completions_command(const CLI::App& program);

}  // namespace facet::cli
