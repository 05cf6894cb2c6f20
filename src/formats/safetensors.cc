#include "formats/safetensors.h"

#include <algorithm>
#include <utility>

namespace facet {

SafetensorsFile::SafetensorsFile(MappedFile file)
    : file_(std::move(file)),
      label_(file_->path().string()),
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
