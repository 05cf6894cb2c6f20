// Safetensors files, alone and as a checkpoint's weights: whatever the bytes, tensors that can be read to
// their last byte, or an Error.
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/error.h"
#include "formats/hf_weights.h"
#include "formats/safetensors.h"
#include "quant/dequantize.h"

namespace {

void read_ends(const facet::SafetensorsFile& file) {
  for (const facet::StoredTensor& tensor : file.tensors()) {
    if (tensor.bytes.empty()) continue;
    const volatile std::byte first = tensor.bytes.front();
    const volatile std::byte last = tensor.bytes.back();
    static_cast<void>(first);
    static_cast<void>(last);
  }
}

void read_weights(std::span<const std::byte> bytes) {
  const facet::Json config = facet::parse_json(
      R"({"quantization":{"bits":4,"group_size":32,"model.norm":{"bits":8,"group_size":64}}})", "c");
  std::vector<facet::SafetensorsFile> files;
  files.emplace_back(bytes, "fuzz");
  const facet::HfWeights weights(facet::ShardedSafetensors(std::move(files)),
                                 facet::MlxQuantization::read(facet::JsonView(config, "c")));
  for (const char* name : {"model.embed_tokens.weight", "model.norm.weight"}) {
    const auto view = weights.matrix(name);
    if (!view) continue;
    std::vector<float> row(static_cast<size_t>(view->cols));
    facet::dequantize_row(*view, 0, row.data());
    facet::dequantize_row(*view, view->rows - 1, row.data());
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  try {
    read_ends(facet::SafetensorsFile(bytes, "fuzz"));
    read_weights(bytes);
  } catch (const facet::Error&) {
  }
  return 0;
}
