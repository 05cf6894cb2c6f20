#include "cli/program.h"

#include <fmt/format.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <new>
#include <nlohmann/json.hpp>
#include <string>
#include <system_error>

#include "base/build_id.h"
#include "base/error.h"
#include "base/mapped_file.h"
#include "cli/commands.h"
#include "cli/terminal.h"

namespace facet::cli {
namespace {

constexpr const char* kFooter =
    "Examples:\n"
    "  facet run \"Once upon a time\"           complete a prompt with the model that ships with Facet\n"
    "  facet chat -m google/gemma-4-E2B-it    chat with a model in the Hugging Face cache\n"
    "  facet serve                            an OpenAI-compatible server and a chat page on port 8080\n"
    "  facet inspect ./model                  what a checkpoint holds and needs\n"
    "\n"
    "`facet COMMAND --help` lists a command's options and shows how it is used.\n"
    "MODEL is a directory, a file, or org/name in the Hugging Face cache; left out, the model that ships "
    "with Facet.\n"
    "Exit codes: 0 ok, 1 the check or the run failed, 2 usage, 3 bad model or input, 4 device or memory,\n"
    "130 interrupted.";

int report(bool json, int code, const std::string& message) {
  std::fflush(stdout);
  if (json) {
    // Bytes of a path that are not UTF-8 must not turn the report into another failure.
    const nlohmann::json error = {{"error", {{"code", code}, {"message", message}}}};
    fmt::print("{}\n", error.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
  }
  fmt::print(stderr, "{} {}\n", styled("facet: error:", Style::kError, stderr), printable(message));
  return code;
}

/// A command that could not write what it has to say has failed. A reader that went away, as head does, needs
/// no message.
int check_output() {
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return 0;
  const int error = errno;
  if (error == EPIPE) return static_cast<int>(ErrorCode::kFailed);
  return report(false, static_cast<int>(ErrorCode::kFailed),
                fmt::format("cannot write the output: {}", std::generic_category().message(error)));
}

int run_command(Command& command) {
  try {
    const int code = command.run();
    return code == 0 ? check_output() : code;
  } catch (const Error& error) {
    return report(command.json(), error.exit_code(), error.what());
  } catch (const std::bad_alloc&) {
    return report(command.json(), static_cast<int>(ErrorCode::kDevice), "not enough memory");
  } catch (const std::exception& error) {
    return report(command.json(), static_cast<int>(ErrorCode::kFailed), error.what());
  }
}

/// Whether the command line asks for JSON, found without the parser: it may be what failed.
bool asks_for_json(int argc, char** argv) {
  for (int i = 1; i < argc; ++i)
    if (std::string_view(argv[i]) == "--json") return true;
  return false;
}

}  // namespace

int run_program(int argc, char** argv) {
  exit_cleanly_on_shrunk_mapping();
  std::signal(SIGPIPE, SIG_IGN);  // a closed pipe is a write error, not a silent death
  std::signal(SIGXFSZ, SIG_IGN);  // so is a limit on the size of files

  CLI::App program("Facet runs Google's Gemma 4 and Gemma 3 models: text in, text out.", "facet");
  program.footer(kFooter);
  program.set_version_flag("--version", std::string(build_id()), "Print the version");
  program.require_subcommand(1);
  program.set_help_all_flag();
  program.option_defaults()->always_capture_default();

  std::vector<std::unique_ptr<Command>> commands;
  commands.push_back(make_run_command());
  commands.push_back(make_chat_command());
  commands.push_back(make_serve_command());
  commands.push_back(make_bench_command());
  commands.push_back(make_perplexity_command());
  commands.push_back(make_quantize_command());
  commands.push_back(make_inspect_command());
  commands.push_back(make_validate_command());
  commands.push_back(make_tokenize_command());
  commands.push_back(make_doctor_command());
  commands.push_back(make_completions_command(program));
  std::vector<CLI::App*> parsers;
  parsers.reserve(commands.size());
  for (const auto& command : commands) parsers.push_back(command->declare(program));

  if (argc <= 1) {
    fmt::print(stderr, "{}", program.help());
    return static_cast<int>(ErrorCode::kUsage);
  }
  try {
    program.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return program.exit(error);  // --help, --version
    const std::string_view word = argv[1];
    const auto is_word = [&](const CLI::App* command) { return command->get_name() == word; };
    const bool known = !program.get_subcommands(is_word).empty();
    const std::string what =
        known || word.starts_with('-') ? error.what() : fmt::format("unknown command '{}'", word);
    const std::string hint =
        fmt::format("{} (see facet {}--help)", what, known ? fmt::format("{} ", word) : "");
    return report(asks_for_json(argc, argv), static_cast<int>(ErrorCode::kUsage), hint);
  }
  for (size_t i = 0; i < commands.size(); ++i)
    if (parsers[i]->parsed()) return run_command(*commands[i]);
  return static_cast<int>(ErrorCode::kUsage);
}

}  // namespace facet::cli
