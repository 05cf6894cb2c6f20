#include "formats/safetensors.h"

#include <algorithm>

namespace facet {

SafetensorsFile::SafetensorsFile(const std::filesystem::path& path)
    : file_(path),
      label_(path.string()),
      file_bytes_(file_->bytes().size()),
      header_(parse_safetensors(file_->bytes(), label_)) {}

SafetensorsFile::SafetensorsFile(std::span<const std::byte> bytes, std::string_view label)
    : label_(label), file_bytes_(bytes.size()), header_(parse_safetensors(bytes, label_)) {}

const StoredTensor* SafetensorsFile::find(std::string_view name) const noexcept {
  const auto at = std::ranges::lower_bound(header_.tensors, name, {},
                                           [](const StoredTensor& t) { return std::string_view(t.name); });
  return at != header_.tensors.end() && at->name == name ? &*at : nullptr;
}

}  // namespace facet
