// Options that every command with a model has, and how they become an engine.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "cli/command.h"
#include "engine/engine.h"
#include "text/tokenizer.h"

namespace facet::cli {

struct ModelOptions {
  std::string model;  ///< empty: the demo model
  std::string backend = "auto";
  std::string isa;
  int threads = 0;
  int context = 0;
  std::string kv;
  std::string per_layer_table;

  /// Declares -m/--model, unless the command takes the model as its first argument.
  void declare_model(CLI::App& app);
  /// Declares --backend, --isa, --threads, --ctx, --kv and --ple.
  void declare_backend(CLI::App& app);
  /// The engine options that these amount to.
  [[nodiscard]] EngineOptions engine_options() const;
};

/// Opens the model named, or the demo model when `model` is empty; prints the checkpoint's warnings.
/// Throws Error{kBadInput} when there is none.
[[nodiscard]] Checkpoint open_model(const std::string& model);

/// Where the demo model lies: beside the installed program (../share/facet/models/fable), or in the source
/// tree that the program was built in. Nothing when it is in neither.
[[nodiscard]] std::optional<std::string> demo_model();

struct LoadedModel {
  std::unique_ptr<Engine> engine;
  double load_ms = 0;
};

/// Opens and loads, with a progress bar when it takes over a second.
[[nodiscard]] LoadedModel load_model(const ModelOptions& options, const EngineOptions& engine_options);

/// The checkpoint's tokenizer. Throws Error{kBadInput} when it has none.
[[nodiscard]] text::Tokenizer load_tokenizer(const Checkpoint& checkpoint);

}  // namespace facet::cli
