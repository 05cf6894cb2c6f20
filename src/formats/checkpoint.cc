#include "formats/checkpoint.h"

#include <fmt/format.h>

#include "base/error.h"
#include "base/quote.h"
#include "formats/hf_config.h"
#include "formats/hf_weights.h"
#include "formats/hub_cache.h"
#include "formats/json.h"
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
  checkpoint.tokenizer_json = existing(directory / "tokenizer.json");
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

/// Opens what `directory`'s config.json describes, with the weights that `open_weights` finds.
template <typename OpenWeights>
Checkpoint open_with_config(const fs::path& directory, OpenWeights open_weights) {
  const fs::path path = directory / "config.json";
  std::error_code error;
  if (!fs::exists(path, error))
    throw bad_input(fmt::format("{}: expected a config.json, got none", directory.string()));
  const Json json = parse_json_file(path);
  return open_hf(directory, JsonView(json, path.string()), open_weights());
}

Checkpoint open_directory(const fs::path& directory) {
  return open_with_config(directory, [&] { return ShardedSafetensors::open(directory); });
}

Checkpoint open_file(const fs::path& path) {
  // The file first: what it is says more than what is missing beside it.
  std::vector<SafetensorsFile> files;
  files.emplace_back(path);
  const fs::path directory = path.has_parent_path() ? path.parent_path() : fs::path(".");
  return open_with_config(directory, [&] { return ShardedSafetensors(std::move(files)); });
}

}  // namespace

Checkpoint open_checkpoint(const std::string& model) {
  const fs::path path(model);
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (fs::is_directory(status)) return open_directory(path);
  if (fs::exists(status)) return open_file(path);
  if (is_hub_name(model)) return open_directory(hub_snapshot(hub_cache_directory(), model));
  throw bad_input(fmt::format("{}: no such file or directory", quote(model, 400)));
}

}  // namespace facet
