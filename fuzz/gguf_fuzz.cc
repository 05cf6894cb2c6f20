// GGUF files: whatever the bytes, a model whose weights can be read to their last row, or an Error.
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/error.h"
#include "formats/gguf.h"
#include "formats/gguf_config.h"
#include "formats/gguf_vocabulary.h"
#include "formats/gguf_weights.h"
#include "model/weights.h"
#include "quant/dequantize.h"

namespace {

void read_row(const facet::MatrixView& view, int64_t index) {
  std::vector<float> row(static_cast<size_t>(view.cols));
  facet::dequantize_row(view, index, row.data());
}

void read_tensors(const facet::GgufFile& file) {
  for (const facet::GgufTensor& tensor : file.tensors()) {
    const volatile std::byte last = tensor.bytes.back();
    static_cast<void>(last);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  try {
    facet::GgufFile file(bytes, "fuzz");
    read_tensors(file);
    static_cast<void>(facet::gguf_vocabulary(file));
    const facet::ModelSpec spec = facet::gguf_model_spec(file);
    const facet::GgufWeights weights(std::move(file));
    for (const facet::WeightRow& row : facet::weight_table(spec)) {
      if (row.use == facet::WeightRow::Use::kVector || row.use == facet::WeightRow::Use::kScalar) {
        static_cast<void>(weights.vector(row.name));
      } else if (const auto view = weights.matrix(row.name)) {
        read_row(*view, 0);
        read_row(*view, view->rows - 1);
      }
    }
  } catch (const facet::Error&) {
  }
  return 0;
}
