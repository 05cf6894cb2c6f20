// facet completions: shell completions, generated from the parser.
#include <fmt/format.h>

#include <string>
#include <vector>

#include "cli/commands.h"

namespace facet::cli {
namespace {

struct OptionInfo {
  std::string name;  // "--model"
  std::string help;
};

struct CommandInfo {
  std::string name;
  std::string help;
  std::vector<OptionInfo> options;
};

std::vector<CommandInfo> list_commands(const CLI::App& program) {
  std::vector<CommandInfo> commands;
  for (const CLI::App* app : program.get_subcommands([](const CLI::App*) { return true; })) {
    CommandInfo info{app->get_name(), app->get_description(), {}};
    for (const CLI::Option* option : app->get_options()) {
      for (const std::string& name : option->get_snames())
        info.options.push_back({"-" + name, option->get_description()});
      for (const std::string& name : option->get_lnames())
        info.options.push_back({"--" + name, option->get_description()});
    }
    commands.push_back(std::move(info));
  }
  return commands;
}

/// For single quotes in a shell.
std::string shell_quoted(std::string_view text) {
  std::string out = "'";
  for (const char c : text) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

std::string joined_options(const CommandInfo& command) {
  std::string words;
  for (const OptionInfo& option : command.options) words += (words.empty() ? "" : " ") + option.name;
  return words;
}

std::string bash_script(const std::vector<CommandInfo>& commands) {
  std::string names;
  std::string cases;
  for (const CommandInfo& c : commands) {
    names += (names.empty() ? "" : " ") + c.name;
    cases += fmt::format("    {}) words=\"{}\" ;;\n", c.name, joined_options(c));
  }
  return fmt::format(
      "_facet() {{\n"
      "  local current=\"${{COMP_WORDS[COMP_CWORD]}}\" words=\"\"\n"
      "  if [ \"$COMP_CWORD\" -eq 1 ]; then\n"
      "    COMPREPLY=($(compgen -W \"{} --help --version\" -- \"$current\")); return\n"
      "  fi\n"
      "  case \"${{COMP_WORDS[1]}}\" in\n{}  esac\n"
      "  case \"$current\" in\n"
      "    -*) COMPREPLY=($(compgen -W \"$words\" -- \"$current\")) ;;\n"
      "    *) COMPREPLY=($(compgen -f -- \"$current\")) ;;\n"
      "  esac\n"
      "}}\n"
      "complete -o filenames -F _facet facet\n",
      names, cases);
}

/// zsh: ':' separates a word from its description.
std::string zsh_word(const std::string& name, const std::string& help) {
  std::string word;
  const auto append = [&word](const std::string& text) {
    for (const char c : text) {
      if (c == ':') word += '\\';
      word += c;
    }
  };
  append(name);
  word += ':';
  append(help);
  return shell_quoted(word);
}

std::string zsh_script(const std::vector<CommandInfo>& commands) {
  std::string names;
  std::string cases;
  for (const CommandInfo& c : commands) {
    names += fmt::format("    {}\n", zsh_word(c.name, c.help));
    std::string options;
    for (const OptionInfo& o : c.options) options += fmt::format("        {}\n", zsh_word(o.name, o.help));
    cases += fmt::format("    {})\n      words_=(\n{}      ) ;;\n", c.name, options);
  }
  return fmt::format(
      "#compdef facet\n"
      "_facet() {{\n"
      "  local -a commands_ words_\n"
      "  commands_=(\n{}  )\n"
      "  if (( CURRENT == 2 )); then _describe command commands_; return; fi\n"
      "  case ${{words[2]}} in\n{}  esac\n"
      "  if [[ ${{words[CURRENT]}} == -* ]]; then _describe option words_; else _files; fi\n"
      "}}\n"
      "compdef _facet facet\n",
      names, cases);
}

std::string fish_script(const std::vector<CommandInfo>& commands) {
  std::string out;
  for (const CommandInfo& c : commands) {
    out += fmt::format("complete -c facet -n __fish_use_subcommand -f -a {} -d {}\n", c.name,
                       shell_quoted(c.help));
    for (const OptionInfo& o : c.options) {
      const bool is_long = o.name.starts_with("--");
      out += fmt::format("complete -c facet -n '__fish_seen_subcommand_from {}' {} {} -d {}\n", c.name,
                         is_long ? "-l" : "-s", o.name.substr(is_long ? 2 : 1), shell_quoted(o.help));
    }
  }
  return out;
}

class CompletionsCommand final : public Command {
 public:
  explicit CompletionsCommand(const CLI::App& program) : program_(program) {}

  CLI::App* declare(CLI::App& program) override {
    CLI::App* app = program.add_subcommand("completions", "Print a completion script for a shell");
    app->add_option("SHELL", shell_, "bash, zsh or fish")
        ->required()
        ->check(CLI::IsMember({"bash", "zsh", "fish"}));
    app->footer(
        "bash: source <(facet completions bash)\n"
        "zsh:  source <(facet completions zsh)\n"
        "fish: facet completions fish > ~/.config/fish/completions/facet.fish");
    return app;
  }

  int run() override {
    const auto commands = list_commands(program_);
    fmt::print("{}", shell_ == "bash"  ? bash_script(commands)
                     : shell_ == "zsh" ? zsh_script(commands)
                                       : fish_script(commands));
    return 0;
  }

 private:
  const CLI::App& program_;
  std::string shell_;
};

}  // namespace

std::unique_ptr<Command> make_completions_command(const CLI::App& program) {
  return std::make_unique<CompletionsCommand>(program);
}

}  // namespace facet::cli
