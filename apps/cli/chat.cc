#include "cli/commands.h"

namespace facet::cli {
namespace {
class ChatCommand final : public Command {
 public:
  CLI::App* declare(CLI::App& program) override { return program.add_subcommand("chat", "Chat with a model"); }
  int run() override { return 1; }
};
}  // namespace
std::unique_ptr<Command> make_chat_command() { return std::make_unique<ChatCommand>(); }
}  // namespace facet::cli
