#include "formats/gguf_model_writer.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/atomic_directory.h"
#include "formats/checkpoint_tokenizer.h"
#include "formats/gguf_export.h"
#include "formats/gguf_names.h"
#include "formats/gguf_writer.h"
#include "model/weights.h"
#include "quant/blocks.h"

namespace facet {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kBlock = 32;
constexpr float kMaxF16 = 65504.0F;

struct Planned {
  std::string name;  // canonical
  GgufDeclaration declaration;
  MatrixView view;            // a matrix
  std::vector<float> values;  // or a vector
};

Encoding encoding_of(std::string_view name, int64_t cols, const GgufWriteOptions& options) {
  if (options.type == GgufFileType::kF16 || cols % kBlock != 0) return Encoding::kF16;
  const bool sensitive = name == "model.embed_tokens.weight"
                             ? !options.four_bit_embedding
                             : name.find("per_layer") != std::string_view::npos;
  return options.type == GgufFileType::kQ8_0 || sensitive ? Encoding::kQ8_0 : Encoding::kQ4_0;
}

/// The experts' matrices have a dimension of their own.
std::vector<int64_t> shape_of(const ModelSpec& spec, const WeightRow& row) {
  const auto& moe = spec.layers.front().moe;
  if (moe && row.name.find(".experts.") != std::string::npos)
    return {moe->experts, row.rows / moe->experts, row.cols};
  return {row.rows, row.cols};
}

Planned plan_vector(const Checkpoint& model, const WeightRow& row, std::vector<float> values) {
  // llama.cpp multiplies with what the file holds; Gemma 3's Hugging Face files hold w − 1.
  if (model.spec.norm_weight_plus_one)
    for (float& value : values) value += 1;
  Planned planned;
  planned.name = row.name;
  planned.declaration = {gguf_name(row.name).value(), Encoding::kF32, {row.cols}};
  planned.values = std::move(values);
  return planned;
}

std::vector<Planned> make_plan(const Checkpoint& model, const GgufWriteOptions& options) {
  std::vector<Planned> plan;
  for (const WeightRow& row : weight_table(model.spec)) {
    if (row.use == WeightRow::Use::kVector || row.use == WeightRow::Use::kScalar) {
      if (auto values = stored_vector(*model.weights, row))
        plan.push_back(plan_vector(model, row, *std::move(values)));
      continue;
    }
    if (std::ranges::find(plan, row.name, &Planned::name) != plan.end()) continue;  // the head
    Planned planned;
    planned.view = stored_matrix(*model.weights, row);
    planned.name = row.name;
    planned.declaration = {gguf_name(row.name).value(), encoding_of(row.name, row.cols, options),
                           shape_of(model.spec, row)};
    plan.push_back(std::move(planned));
  }
  if (const std::vector<float> divisors = rope_divisors(model.spec); !divisors.empty()) {
    Planned planned;
    planned.declaration = {"rope_freqs.weight", Encoding::kF32, {static_cast<int64_t>(divisors.size())}};
    planned.values = divisors;
    plan.push_back(std::move(planned));
  }
  return plan;
}

void encode_row(std::span<const float> values, Encoding encoding, std::byte* out) noexcept {
  if (encoding == Encoding::kF16) {
    for (size_t i = 0; i < values.size(); ++i) {
      const uint16_t half = f32_to_f16(values[i]);
      std::memcpy(out + i * sizeof half, &half, sizeof half);
    }
    return;
  }
  const auto encode = encoding == Encoding::kQ8_0 ? encode_q8_0 : encode_q4_0;
  for (size_t i = 0; i < values.size(); i += kBlock, out += encoding_block_bytes(encoding))
    encode(values.data() + i, out);
}

void write_matrix(const Planned& planned, WeightRows& rows, GgufWriter& out) {
  const Encoding encoding = planned.declaration.encoding;
  MatrixView stored = planned.view;
  stored.encoding = encoding;
  const auto row_bytes = static_cast<size_t>(stored.row_bytes());
  const int64_t piece = WeightRows::rows_a_piece(planned.view);
  std::vector<std::byte> bytes(static_cast<size_t>(piece) * row_bytes);
  for (int64_t begin = 0; begin < planned.view.rows; begin += piece) {
    const int64_t end = std::min(planned.view.rows, begin + piece);
    rows.read(planned.name, planned.view, begin, end, kMaxF16, [&](int64_t row, WeightRows::Row values) {
      encode_row(values.decoded, encoding, bytes.data() + static_cast<size_t>(row - begin) * row_bytes);
    });
    out.write(planned.declaration.name, std::span(bytes).first(static_cast<size_t>(end - begin) * row_bytes));
  }
}

/// ggml's number for what most matrices are.
uint32_t file_type(GgufFileType type) noexcept {
  switch (type) {
    case GgufFileType::kF16: return 1;
    case GgufFileType::kQ4_0: return 2;
    case GgufFileType::kQ8_0: return 7;
  }
  return 0;
}

GgufPairs metadata(const Checkpoint& model, GgufFileType type) {
  GgufPairs pairs;
  add_model(model.spec, pairs);
  pairs.add("general.type", "model");
  pairs.add("general.file_type", file_type(type));
  pairs.add("general.quantization_version", uint32_t{2});
  add_sampling(model.generation, pairs);
  add_tokenizer(model.spec, open_vocabulary(model), pairs);
  if (const auto chat = chat_template(model)) pairs.add("tokenizer.chat_template", *chat);
  return pairs;
}

}  // namespace

void write_gguf(const Checkpoint& model, const fs::path& path, const GgufWriteOptions& options) {
  require_absent(path);
  const std::vector<Planned> plan = make_plan(model, options);
  std::vector<GgufDeclaration> declarations;
  int64_t elements = 0;
  for (const Planned& planned : plan) {
    declarations.push_back(planned.declaration);
    elements += planned.view.rows * planned.view.cols;
  }
  WeightRows rows(options.threads, elements, options.progress);
  GgufWriter out(path, metadata(model, options.type), declarations);
  for (const Planned& planned : plan) {
    if (planned.view.empty()) {
      out.write(planned.declaration.name, std::as_bytes(std::span(planned.values)));
      continue;
    }
    write_matrix(planned, rows, out);
    model.weights->release(planned.view);
  }
  out.finish();
}

}  // namespace facet
