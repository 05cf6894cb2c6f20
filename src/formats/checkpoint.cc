#include "formats/checkpoint.h"

#include <fmt/format.h>

#include "base/error.h"
#include "base/mapped_file.h"
#include "base/quote.h"
#include "formats/gguf.h"
#include "formats/gguf_config.h"
#include "formats/gguf_vocabulary.h"
#include "formats/gguf_weights.h"
#include "formats/hf_config.h"
#include "formats/hf_weights.h"
#include "formats/hub_cache.h"
#include "formats/json.h"
#include "formats/lalamo_config.h"
#include "formats/lalamo_weights.h"
#include "formats/mlx_quantization.h"
#include "formats/safetensors_shards.h"

namespace facet {
namespace {

namespace fs = std::filesystem;

std::optional<fs::path> existing(const fs::path& path) {
  std::error_code error;
  return fs::exists(path, error) ? std::optional(path) : std::nullopt;
}

/// What lies beside the weights in a Hugging Face directory.
void read_companions(const fs::path& directory, Checkpoint& checkpoint) {
  checkpoint.tokenizer_file = existing(directory / "tokenizer.json");
  if (const auto path = existing(directory / "generation_config.json")) {
    const Json json = parse_json_file(*path);
    checkpoint.generation = read_generation_config(JsonView(json, path->string()));
  }
  if (!checkpoint.generation.eos_ids.empty()) checkpoint.spec.eos_ids = checkpoint.generation.eos_ids;
  checkpoint.generation.eos_ids = checkpoint.spec.eos_ids;
}

void count_files(const ShardedSafetensors& files, Checkpoint& checkpoint) {
  for (const SafetensorsFile& file : files.files()) {
    checkpoint.files.emplace_back(file.label());
    checkpoint.bytes += file.file_bytes();
  }
}

/// "bf16", or "4-bit group 64".
std::string encoding_text(const MatrixView& view) {
  if (!view.is_affine()) return std::string(encoding_name(view.encoding));
  return fmt::format("{}-bit group {}", view.encoding == Encoding::kAffine4 ? 4 : 8, view.group_size);
}

std::string hf_format(const HfWeights& weights, const std::optional<MlxQuantization>& quantization) {
  if (quantization) {
    const AffineFormat& format = quantization->default_format();
    return fmt::format("MLX {}-bit group {}", format.bits, format.group_size);
  }
  const auto embedding = weights.matrix("model.embed_tokens.weight");
  return fmt::format("Hugging Face {}", encoding_name(embedding->encoding));
}

Checkpoint open_hf(const fs::path& directory, const JsonView& config, ShardedSafetensors files) {
  Checkpoint checkpoint;
  checkpoint.spec = hf_model_spec(config);
  const auto quantization = MlxQuantization::read(config);
  count_files(files, checkpoint);
  auto weights = std::make_unique<HfWeights>(std::move(files), quantization);
  checkpoint.format = hf_format(*weights, quantization);
  checkpoint.weights = std::move(weights);
  read_companions(directory, checkpoint);
  validate(checkpoint.spec);  // once more: generation_config.json may have named other ids
  return checkpoint;
}

Checkpoint open_lalamo(const fs::path& directory, const JsonView& config, ShardedSafetensors files) {
  LalamoModel model = read_lalamo_config(config);
  Checkpoint checkpoint;
  count_files(files, checkpoint);
  auto weights = std::make_unique<LalamoWeights>(std::move(files), model.spec);
  for (int l = 0; l < model.spec.layer_count(); ++l) {
    const std::string name = fmt::format("model.layers.{}.layer_scalar", l);
    const bool stored = weights->contains(name);
    const bool scaled = model.layer_scalars[static_cast<size_t>(l)].value_or(stored);
    if (scaled && !stored)
      throw bad_input(fmt::format("{}: layer {}: expected a tensor {}, as config.json says, got none",
                                  directory.string(), l, weights->stored_name(name)));
    model.spec.layers[static_cast<size_t>(l)].has_layer_scalar = scaled;
  }
  checkpoint.spec = std::move(model.spec);
  checkpoint.warnings = std::move(model.warnings);
  checkpoint.generation = std::move(model.generation);
  checkpoint.tokenizer_file = existing(directory / "tokenizer.json");
  validate(checkpoint.spec);
  const auto sample = weights->matrix("model.layers.0.mlp.down_proj.weight");
  checkpoint.format = fmt::format("lalamo {}", sample ? encoding_text(*sample) : "?");
  checkpoint.weights = std::move(weights);
  return checkpoint;
}

/// Opens what `directory`'s config.json describes, with the weights that `open_weights` finds.
template <typename OpenWeights>
Checkpoint open_with_config(const fs::path& directory, OpenWeights open_weights) {
  const fs::path path = directory / "config.json";
  std::error_code error;
  if (!fs::exists(path, error))
    throw bad_input(fmt::format("{}: expected a config.json, got none", directory.string()));
  const Json json = parse_json_file(path);
  const JsonView config(json, path.string());
  if (is_lalamo(config)) return open_lalamo(directory, config, open_weights());
  return open_hf(directory, config, open_weights());
}

Checkpoint open_gguf(MappedFile mapping) {
  const fs::path path = mapping.path();
  GgufFile file(std::move(mapping));
  Checkpoint checkpoint;
  checkpoint.spec = gguf_model_spec(file);
  checkpoint.generation = gguf_generation_config(file);
  checkpoint.files = {path};
  checkpoint.bytes = file.file_bytes();
  checkpoint.format = fmt::format("GGUF {}", gguf_main_encoding(file));
  if (has_gguf_vocabulary(file)) checkpoint.tokenizer_file = path;
  checkpoint.weights = std::make_unique<GgufWeights>(std::move(file));
  return checkpoint;
}

Checkpoint open_file(const fs::path& path) {
  // The file first: what it is says more than what is missing beside it.
  MappedFile mapping(path);
  if (GgufFile::is_gguf(mapping.bytes())) return open_gguf(std::move(mapping));
  constexpr size_t kHeaderAt = 8;  // of safetensors: JSON, after its length
  if (mapping.bytes().size() > kHeaderAt && mapping.bytes()[kHeaderAt] != std::byte{'{'})
    throw bad_input(fmt::format("{}: expected a safetensors or a GGUF file, got neither", path.string()));
  std::vector<SafetensorsFile> files;
  files.emplace_back(std::move(mapping));
  const fs::path directory = path.has_parent_path() ? path.parent_path() : fs::path(".");
  return open_with_config(directory, [&] { return ShardedSafetensors(std::move(files)); });
}

/// The one GGUF file of a directory without config.json, or nothing.
std::optional<fs::path> only_gguf(const fs::path& directory) {
  std::optional<fs::path> only;
  std::error_code error;
  const fs::directory_iterator entries(directory, error);
  if (error)
    throw bad_input(fmt::format("{}: cannot read the directory: {}", directory.string(), error.message()));
  for (const fs::directory_entry& entry : entries) {
    if (entry.path().extension() != ".gguf") continue;
    if (only)
      throw bad_input(
          fmt::format("{}: expected one GGUF file, got several: name the one to open", directory.string()));
    only = entry.path();
  }
  return only;
}

Checkpoint open_directory(const fs::path& directory) {
  std::error_code error;
  if (!fs::exists(directory / "config.json", error))
    if (const auto gguf = only_gguf(directory)) return open_file(*gguf);
  return open_with_config(directory, [&] { return ShardedSafetensors::open(directory); });
}

}  // namespace

Checkpoint open_checkpoint(const std::string& model) {
  const fs::path path(model);
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (fs::is_directory(status)) return open_directory(path);
  if (fs::exists(status)) return open_file(path);
  if (error == std::errc::permission_denied)
    throw bad_input(fmt::format("{}: cannot open: {}", quote(model, 400), error.message()));
  if (is_hub_name(model)) return open_directory(hub_snapshot(hub_cache_directory(), model));
  throw bad_input(fmt::format("{}: no such file or directory", quote(model, 400)));
}

}  // namespace facet
