// Writes the synthetic model of `facet bench --synthetic` as a GGUF file, so that other engines can be timed
// on the same weights: Q4_0 where that has 4 bits, Q8_0 where it has 8. No vocabulary. usage: synthetic_gguf
// e2b|e4b FILE
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <set>
#include <vector>

#include "base/error.h"
#include "base/thread_pool.h"
#include "engine/synthetic.h"
#include "formats/gguf_export.h"
#include "formats/gguf_names.h"
#include "formats/gguf_writer.h"
#include "model/weights.h"
#include "quant/blocks.h"
#include "quant/dequantize.h"

namespace facet {
namespace {

constexpr int kBlock = 32;           // elements of Q4_0's and Q8_0's blocks
constexpr int64_t kPieceRows = 512;  // encoded and written at a time

struct Tensor {
  GgufDeclaration declaration;
  std::string source;  // its canonical name; empty for rope_freqs
};

std::vector<Tensor> list_tensors(const Checkpoint& model) {
  std::vector<Tensor> tensors;
  std::set<std::string> known;
  for (const WeightRow& row : weight_table(model.spec)) {
    const std::string name = gguf_name(row.name).value();
    if (!known.insert(name).second) continue;  // the head is the embedding
    if (row.use == WeightRow::Use::kMatmul || row.use == WeightRow::Use::kTable) {
      const MatrixView view = model.weights->matrix(row.name).value();
      const Encoding encoding = view.encoding == Encoding::kAffine4 ? Encoding::kQ4_0 : Encoding::kQ8_0;
      tensors.push_back({{name, encoding, {view.rows, view.cols}}, row.name});
    } else {
      tensors.push_back({{name, Encoding::kF32, {row.cols}}, row.name});
    }
  }
  const auto divisors = static_cast<int64_t>(rope_divisors(model.spec).size());
  tensors.push_back({{"rope_freqs.weight", Encoding::kF32, {divisors}}, ""});
  return tensors;
}

void write_matrix(GgufWriter& writer, const GgufDeclaration& as, const MatrixView& view, ThreadPool& pool) {
  const auto encode = as.encoding == Encoding::kQ4_0 ? encode_q4_0 : encode_q8_0;
  const int64_t block_bytes = encoding_block_bytes(as.encoding);
  const int64_t row_bytes = view.cols / kBlock * block_bytes;
  std::vector<std::byte> encoded(static_cast<size_t>(kPieceRows * row_bytes));
  std::vector<float> decoded(static_cast<size_t>(pool.size() * view.cols));
  for (int64_t first = 0; first < view.rows; first += kPieceRows) {
    const int64_t count = std::min(kPieceRows, view.rows - first);
    pool.run([&](int thread) noexcept {
      float* row = decoded.data() + thread * view.cols;
      const StaticRange mine = static_range(count, thread, pool.team());
      for (int64_t r = mine.begin; r < mine.end; ++r) {
        dequantize_row(view, first + r, row);
        for (int64_t b = 0; b < view.cols / kBlock; ++b)
          encode(row + b * kBlock, encoded.data() + r * row_bytes + b * block_bytes);
      }
    });
    writer.write(as.name, std::span(encoded).first(static_cast<size_t>(count * row_bytes)));
  }
}

void write_model(std::string_view size, const char* path) {
  const Checkpoint model = make_synthetic(size, SyntheticQuant::k4Bit);
  GgufPairs pairs;
  add_model(model.spec, pairs);
  pairs.add("tokenizer.ggml.model", "none");
  pairs.add("gemma4.vocab_size", static_cast<uint32_t>(model.spec.vocab_size));
  const std::vector<Tensor> tensors = list_tensors(model);
  std::vector<GgufDeclaration> declarations;
  for (const Tensor& t : tensors) declarations.push_back(t.declaration);
  GgufWriter writer(path, pairs, declarations);
  ThreadPool pool;
  for (const Tensor& t : tensors) {
    if (t.declaration.encoding != Encoding::kF32) {
      write_matrix(writer, t.declaration, model.weights->matrix(t.source).value(), pool);
      continue;
    }
    const auto values =
        t.source.empty() ? rope_divisors(model.spec) : model.weights->vector(t.source).value();
    writer.write(t.declaration.name, std::as_bytes(std::span(values)));
  }
  writer.finish();
}

}  // namespace
}  // namespace facet

int main(int count, char** arguments) {
  if (count != 3) {
    fmt::print(stderr, "usage: synthetic_gguf e2b|e4b FILE\n");
    return 2;
  }
  try {
    facet::write_model(arguments[1], arguments[2]);
  } catch (const std::exception& error) {
    fmt::print(stderr, "synthetic_gguf: error: {}\n", error.what());
    return 1;
  }
  return 0;
}
