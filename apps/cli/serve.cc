// facet serve: the HTTP server.
#include <fmt/format.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

#include "base/error.h"
#include "cli/commands.h"
#include "cli/model_options.h"
#include "server/server.h"

namespace facet::cli {
namespace {

class ServeCommand final : public Command {
 public:
  CLI::App* declare(CLI::App& program) override {
    CLI::App* app = program.add_subcommand("serve", "Serve the OpenAI API and a chat page over HTTP");
    model_.declare_model(*app);
    app->add_option("--host", options_.host, "Address to listen on")->envname("FACET_HOST");
    app->add_option("--port", options_.port, "Port; 0 takes any free one and prints it")
        ->envname("FACET_PORT")
        ->check(CLI::Range(0, 65535));
    app->add_option("--parallel", parallel_, "Requests answered at once; each has a context of --ctx tokens")
        ->envname("FACET_PARALLEL")
        ->check(CLI::Range(1, 1024));
    app->add_option("--queue", scheduler_.queue, "Requests that may wait; more get a 429")
        ->check(CLI::Range(1, 65536));
    app->add_option("--prefix-cache", prefix_mb_, "MiB of memory for prompts to reuse; 0 turns reuse off")
        ->check(CLI::Range(0, 1 << 20));
    app->add_option("--served-name", name_, "The model's name for clients (default: the model's own)");
    declare_access(*app);
    declare_limits(*app);
    model_.declare_backend(*app);
    app->footer(
        "Examples:\n"
        "  facet serve --port 0                      the model that ships with Facet, on any free port\n"
        "  facet serve -m ./model --parallel 16 --ctx 8192\n"
        "  FACET_API_KEY=KEY facet serve --host 0.0.0.0\n"
        "\n"
        "Then open http://127.0.0.1:8080 in a browser, or point an OpenAI client at "
        "http://127.0.0.1:8080/v1.");
    return app;
  }

  int run() override {
    server::EventLog log(quiet_ ? nullptr : stderr);
    options_.times.request = std::chrono::seconds(request_timeout_s_);
    options_.drain_timeout = std::chrono::seconds(drain_timeout_s_);
    if (!options_.access.api_key.empty() &&
        options_.access.api_key.find_first_of(" \t\r\n") != std::string::npos)
      throw Error(ErrorCode::kUsage, "--api-key: expected no white space");
    options_.access.allowed_hosts.push_back(options_.host);
    server::Server server(options_, log);
    const bool v6 = options_.host.find(':') != std::string::npos;
    fmt::print("listening on http://{}{}{}:{}\n", v6 ? "[" : "", options_.host, v6 ? "]" : "", server.port());
    std::fflush(stdout);
    const int signal = server.run([this] { return load(); });
    return signal == SIGINT ? static_cast<int>(ErrorCode::kInterrupted) : 0;
  }

 private:
  void declare_access(CLI::App& app) {
    const auto* group = "Access";
    app.add_option("--api-key", options_.access.api_key, "Key that clients must send as a bearer token")
        ->envname("FACET_API_KEY")
        ->group(group);
    app.add_flag("--insecure", options_.insecure, "Allow a --host beyond this machine without a key")
        ->group(group);
    app.add_option("--allow-host", options_.access.allowed_hosts,
                   "A Host to answer to besides localhost and addresses; may be repeated")
        ->group(group)
        ->default_str("")
        ->take_all()
        ->allow_extra_args(false);
    app.add_option("--allow-origin", options_.access.allowed_origins,
                   "A web page's origin that may use the server, as https://NAME; * is any; may be repeated")
        ->group(group)
        ->default_str("")
        ->take_all()
        ->allow_extra_args(false);
  }

  void declare_limits(CLI::App& app) {
    const auto* group = "Limits";
    app.add_option("--max-connections", options_.limits.connections, "Most open connections")
        ->check(CLI::Range(1, 65536))
        ->group(group);
    app.add_option("--request-timeout", request_timeout_s_, "Seconds after which an answer ends where it is")
        ->check(CLI::Range(1, 86400))
        ->group(group);
    app.add_option("--drain-timeout", drain_timeout_s_, "Seconds for answers to end after SIGTERM")
        ->check(CLI::Range(0, 86400))
        ->group(group);
    app.add_flag("--quiet", quiet_, "No log on stderr")->group(group);
  }

  [[nodiscard]] std::unique_ptr<server::ServedModel> load() const {
    EngineOptions engine_options = model_.engine_options();
    engine_options.sequences = parallel_;
    engine_options.prefix_bytes = prefix_mb_ << 20;
    LoadedModel loaded = load_model(model_, engine_options);
    text::Tokenizer tokenizer = load_tokenizer(loaded.engine->checkpoint());
    std::string name = name_;
    if (name.empty())
      name = model_.model.empty() ? "fable" : std::filesystem::path(model_.model).filename().string();
    if (name.empty()) name = "model";  // a path that ends in a slash
    return std::make_unique<server::ServedModel>(name, std::move(loaded.engine), std::move(tokenizer),
                                                 scheduler_);
  }

  ModelOptions model_;
  server::ServerOptions options_;
  SchedulerOptions scheduler_;
  int parallel_ = 4;
  int64_t prefix_mb_ = 256;
  std::string name_;
  int request_timeout_s_ = 600;
  int drain_timeout_s_ = 30;
  bool quiet_ = false;
};

}  // namespace

std::unique_ptr<Command> make_serve_command() {
  return std::make_unique<ServeCommand>();
}

}  // namespace facet::cli
