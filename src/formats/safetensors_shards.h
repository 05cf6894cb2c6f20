// A checkpoint's tensors, in one safetensors file or spread over several.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string_view>
#include <vector>

#include "formats/safetensors.h"

namespace facet {

class ShardedSafetensors {
 public:
  explicit ShardedSafetensors(std::vector<SafetensorsFile> files);

  /// Opens DIR/model.safetensors, or the shards that DIR/model.safetensors.index.json names. A shard's name
  /// is a plain file name, and the file lies in DIR (or in the blobs of the hub cache that DIR belongs to).
  /// Throws Error{kBadInput} when a shard or a tensor it should hold is missing, or two hold the same one.
  [[nodiscard]] static ShardedSafetensors open(const std::filesystem::path& directory);

  [[nodiscard]] const StoredTensor* find(std::string_view name) const noexcept;
  [[nodiscard]] const std::vector<SafetensorsFile>& files() const noexcept { return files_; }
  /// The file that holds `name`, or the first one: what a message about it starts with.
  [[nodiscard]] const std::string& label_of(std::string_view name) const noexcept;

 private:
  std::vector<SafetensorsFile> files_;
};

}  // namespace facet
