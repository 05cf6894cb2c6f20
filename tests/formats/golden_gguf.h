// The goldens as GGUF files.
#pragma once

#include <string_view>

#include "formats/checkpoint.h"
#include "formats/files.h"
#include "formats/gguf_export.h"
#include "formats/gguf_names.h"
#include "formats/gguf_writer.h"
#include "model/weights.h"

namespace facet::testing {

/// Writes `from` to `path`, matrices as they are stored (bf16) and vectors in f32, as llama.cpp's conversion
/// does. `more` adds metadata.
inline void write_gguf(const Checkpoint& from, const std::filesystem::path& path, GgufPairs more = {}) {
  add_model(from.spec, more);
  add_sampling(from.generation, more);
  std::vector<GgufDeclaration> declarations;
  std::vector<std::string> payloads;
  const auto add = [&](std::string name, Encoding encoding, std::vector<int64_t> shape,
                       std::span<const std::byte> bytes) {
    declarations.push_back({std::move(name), encoding, std::move(shape)});
    payloads.emplace_back(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  };
  for (const WeightRow& row : weight_table(from.spec)) {
    const std::string name = gguf_name(row.name).value();
    if (row.use == WeightRow::Use::kMatmul || row.use == WeightRow::Use::kTable) {
      const auto known = [&](const GgufDeclaration& d) { return d.name == name; };
      if (std::ranges::any_of(declarations, known)) continue;  // the head is the embedding
      const MatrixView view = from.weights->matrix(row.name).value();
      add(name, view.encoding, {view.rows, view.cols}, {view.data, static_cast<size_t>(view.bytes())});
    } else {
      const std::vector<float> values = from.weights->vector(row.name).value();
      add(name, Encoding::kF32, {static_cast<int64_t>(values.size())}, std::as_bytes(std::span(values)));
    }
  }
  const std::vector<float> divisors = rope_divisors(from.spec);
  add("rope_freqs.weight", Encoding::kF32, {static_cast<int64_t>(divisors.size())},
      std::as_bytes(std::span(divisors)));
  GgufWriter writer(path, more, declarations);
  for (size_t i = 0; i < declarations.size(); ++i) writer.write(declarations[i].name, bytes_of(payloads[i]));
  writer.finish();
}

}  // namespace facet::testing
