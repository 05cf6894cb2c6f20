#include "formats/safetensors_shards.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "base/error.h"
#include "base/quote.h"
#include "formats/hub_cache.h"
#include "formats/json.h"

namespace facet {
namespace {

constexpr std::string_view kSingle = "model.safetensors";
constexpr std::string_view kIndex = "model.safetensors.index.json";
constexpr size_t kMaxShards = 1024;

void refuse_twins(const std::vector<SafetensorsFile>& files) {
  if (files.size() < 2) return;
  std::vector<std::pair<std::string_view, const SafetensorsFile*>> names;
  for (const SafetensorsFile& file : files)
    for (const StoredTensor& tensor : file.tensors()) names.emplace_back(tensor.name, &file);
  std::ranges::sort(names);
  const auto twin = std::ranges::adjacent_find(names, {}, [](const auto& entry) { return entry.first; });
  if (twin != names.end())
    throw bad_input(fmt::format("{}: tensor {}: expected in one shard, got it in {} as well",
                                twin->second->label(), quote(twin->first), std::next(twin)->second->label()));
}

}  // namespace

ShardedSafetensors::ShardedSafetensors(std::vector<SafetensorsFile> files) : files_(std::move(files)) {
  refuse_twins(files_);
}

ShardedSafetensors ShardedSafetensors::open(const std::filesystem::path& directory) {
  std::vector<SafetensorsFile> files;
  if (std::filesystem::exists(directory / kSingle)) {
    files.emplace_back(directory / kSingle);
    return ShardedSafetensors(std::move(files));
  }
  const std::filesystem::path index_path = directory / kIndex;
  if (!std::filesystem::exists(index_path))
    throw bad_input(fmt::format("{}: expected {} or {}, got neither", directory.string(), kSingle, kIndex));

  const Json index = parse_json_file(index_path);
  const JsonView map = JsonView(index, index_path.string()).at("weight_map");
  std::vector<std::string> shards;  // in order of first mention; the files' order does not matter
  std::set<std::string, std::less<>> seen;
  for (const auto& [tensor, shard] : map.object().items()) {
    if (!shard.is_string())
      throw bad_input(
          fmt::format("{}: {}: expected a shard's name, got another type", map.where(), quote(tensor)));
    const auto& name = shard.get_ref<const std::string&>();
    if (!seen.insert(name).second) continue;
    if (seen.size() > kMaxShards)
      throw bad_input(fmt::format("{}: expected at most {} shards, got more", map.where(), kMaxShards));
    files.emplace_back(checkpoint_file(directory, name, map.where()));
    shards.push_back(name);
  }
  for (const auto& [tensor, shard] : map.object().items()) {
    const auto at =
        static_cast<size_t>(std::ranges::find(shards, shard.get_ref<const std::string&>()) - shards.begin());
    if (files[at].find(tensor) == nullptr)
      throw bad_input(fmt::format("{}: expected tensor {} as {} says, got none", files[at].label(),
                                  quote(tensor), kIndex));
  }
  if (files.empty()) throw bad_input(fmt::format("{}: expected tensors, got none", map.where()));
  return ShardedSafetensors(std::move(files));
}

const StoredTensor* ShardedSafetensors::find(std::string_view name) const noexcept {
  for (const SafetensorsFile& file : files_)
    if (const StoredTensor* tensor = file.find(name)) return tensor;
  return nullptr;
}

const std::string& ShardedSafetensors::label_of(std::string_view name) const noexcept {
  for (const SafetensorsFile& file : files_)
    if (file.find(name) != nullptr) return file.label();
  return files_.front().label();
}

}  // namespace facet
