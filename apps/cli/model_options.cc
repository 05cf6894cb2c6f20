#include "cli/model_options.h"

#include <fmt/format.h>

#include <chrono>
#include <filesystem>

#include "base/error.h"
#include "cli/terminal.h"
#include "formats/checkpoint_tokenizer.h"

namespace facet::cli {

namespace fs = std::filesystem;

namespace {

void print_warning(const std::string& line) {
  fmt::print(stderr, "{} {}\n", styled("facet: warning:", Style::kWarning, stderr), printable(line));
}

}  // namespace

void ModelOptions::declare_model(CLI::App& app) {
  app.add_option("-m,--model", model,
                 "A directory, a file, or org/name in the Hugging Face cache (default: the model that ships "
                 "with Facet)")
      ->envname("FACET_MODEL")
      ->type_name("MODEL");
}

void ModelOptions::declare_backend(CLI::App& app) {
  app.add_option("--backend", backend,
                 "Where to compute; auto: on the GPU if it is there and holds the model")
      ->envname("FACET_BACKEND")
      ->check(CLI::IsMember({"auto", "reference", "cpu", "cuda"}));
  app.add_option("--isa", isa,
                 "CPU instruction set: portable, avx2, avx512 or amx (default: the best there is)")
      ->envname("FACET_ISA");
  app.add_option("--threads", threads, "CPU threads (default: one a core that the process may use)")
      ->envname("FACET_THREADS")
      ->default_str("")
      ->check(CLI::Range(0, 1024));
  app.add_option("--ctx", context, "Tokens of context (default: the model's, at most 4096)")
      ->envname("FACET_CTX")
      ->default_str("")
      ->check(CLI::Range(0, 1 << 24));
  app.add_option("--kv", kv, "Type of the key/value cache (default: the backend's)")
      ->envname("FACET_KV")
      ->check(CLI::IsMember({"f32", "bf16", "q8"}));
  app.add_option("--ple", per_layer_table,
                 "Where a GPU has the per-layer table: host or device (default: host when it is large)")
      ->envname("FACET_PLE")
      ->check(CLI::IsMember({"host", "device"}));
}

EngineOptions ModelOptions::engine_options() const {
  EngineOptions options;
  options.backend = backend;
  options.isa = isa;
  options.threads = threads;
  options.context = context;
  if (kv == "f32") options.kv = KvType::kF32;
  if (kv == "bf16") options.kv = KvType::kBF16;
  if (kv == "q8") options.kv = KvType::kQ8;
  if (per_layer_table == "host") options.per_layer_table = Residence::kHost;
  if (per_layer_table == "device") options.per_layer_table = Residence::kDevice;
  options.notice = [](const std::string& line) { print_warning(line); };
  return options;
}

std::optional<std::string> demo_model() {
  std::error_code error;
  const fs::path program = fs::read_symlink("/proc/self/exe", error).parent_path();
  if (error) return std::nullopt;
  // bin/facet of an installation; build/PRESET/bin/facet of a source tree.
  for (const char* place : {"../share/facet/models/fable", "../../../models/fable"}) {
    const fs::path candidate = program / place;
    if (fs::exists(candidate / "config.json", error)) return fs::canonical(candidate, error).string();
  }
  return std::nullopt;
}

Checkpoint open_model(const std::string& model) {
  std::string name = model;
  if (name.empty()) {
    const auto demo = demo_model();
    if (!demo)
      throw bad_input("no model: name one with -m MODEL or FACET_MODEL (the demo model is not installed)");
    name = *demo;
  }
  Checkpoint checkpoint = open_checkpoint(name);
  for (const std::string& warning : checkpoint.warnings) print_warning(warning);
  return checkpoint;
}

LoadedModel load_model(const ModelOptions& options, const EngineOptions& engine_options) {
  const auto start = std::chrono::steady_clock::now();
  Progress bar("Loading");
  EngineOptions with_progress = engine_options;
  with_progress.progress = [&bar](int64_t done, int64_t total) { bar.update(done, total); };
  LoadedModel loaded;
  loaded.engine = std::make_unique<Engine>(open_model(options.model), with_progress);
  loaded.load_ms =
      std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
  return loaded;
}

text::Tokenizer load_tokenizer(const Checkpoint& checkpoint) {
  auto tokenizer = open_tokenizer(checkpoint);
  if (!tokenizer)
    throw bad_input("the model has no tokenizer: `facet run --ids` takes token ids instead of text");
  return *std::move(tokenizer);
}

}  // namespace facet::cli
