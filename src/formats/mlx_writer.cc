#include "formats/mlx_writer.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>

#include "base/atomic_directory.h"
#include "base/atomic_file.h"
#include "base/error.h"
#include "formats/checkpoint_tokenizer.h"
#include "formats/hf_config_export.h"
#include "formats/mlx_quantization.h"
#include "formats/safetensors_writer.h"
#include "model/weights.h"
#include "quant/error_carry.h"
#include "text/tokenizer_json_export.h"

namespace facet {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kEmbedding = "model.embed_tokens.weight";
constexpr float kMaxBf16 = 3e38F;

/// A matrix and how it will be stored.
struct PlannedMatrix {
  std::string name;
  MatrixView view;
  std::optional<AffineFormat> format;  // nothing: bf16
};

/// A vector, as Hugging Face stores it.
struct PlannedVector {
  std::string name;
  std::vector<float> values;
  DType dtype;
};

struct Plan {
  std::vector<PlannedMatrix> matrices;
  std::vector<PlannedVector> vectors;
  int64_t elements = 0;
};

std::string module_of(std::string_view name) {
  constexpr std::string_view kWeight = ".weight";
  return std::string(name.substr(0, name.size() - kWeight.size()));
}

int bits_of(std::string_view name, const MlxWriteOptions& options) {
  if (name == kEmbedding) return options.head_bits;
  return name.find("per_layer") != std::string_view::npos ? options.ple_bits : options.bits;
}

std::optional<AffineFormat> format_of(std::string_view name, int64_t cols, const MlxWriteOptions& options) {
  const int bits = bits_of(name, options);
  if (bits == 16) return std::nullopt;
  for (const int group : {128, 64, 32})
    if (group <= options.group_size && cols % group == 0) return AffineFormat{bits, group};
  return std::nullopt;
}

/// f32, unless bf16 holds every value.
DType narrowest(const std::vector<float>& values) {
  const auto exact = [](float x) { return bf16_to_f32(f32_to_bf16(x)) == x; };
  return std::ranges::all_of(values, exact) ? DType::kBF16 : DType::kF32;
}

void plan_vector(const Checkpoint& model, const WeightRow& row, Plan& plan) {
  auto values = stored_vector(*model.weights, row);
  if (!values) return;
  // Gemma 3's norms: 1 + w. GGUF files hold the sum.
  if (model.spec.architecture == "gemma3_text" && !model.spec.norm_weight_plus_one)
    for (float& value : *values) value -= 1;
  const DType dtype = narrowest(*values);
  plan.vectors.push_back({row.name, *std::move(values), dtype});
}

void plan_matrix(const Checkpoint& model, const WeightRow& row, const MlxWriteOptions& options, Plan& plan) {
  const MatrixView view = stored_matrix(*model.weights, row);
  plan.matrices.push_back({row.name, view, format_of(row.name, view.cols, options)});
  plan.elements += view.rows * view.cols;
}

Plan make_plan(const Checkpoint& model, const MlxWriteOptions& options) {
  check_mlx_holds(model);
  Plan plan;
  for (const WeightRow& row : weight_table(model.spec)) {
    if (row.use == WeightRow::Use::kVector || row.use == WeightRow::Use::kScalar)
      plan_vector(model, row, plan);
    else if (std::ranges::find(plan.matrices, row.name, &PlannedMatrix::name) == plan.matrices.end())
      plan_matrix(model, row, options, plan);  // the head is the embedding once more
  }
  std::ranges::stable_sort(plan.vectors, std::ranges::greater(),
                           [](const PlannedVector& v) { return dtype_size(v.dtype); });
  return plan;
}

/// Codes, scales and biases of a matrix follow each other. Every such triple is a multiple of four bytes, so
/// all tensors stay aligned when the 16-bit ones come last.
std::vector<TensorDeclaration> declarations(const Plan& plan) {
  std::vector<TensorDeclaration> all;
  for (const PlannedMatrix& m : plan.matrices) {
    if (!m.format) continue;
    const std::string module = module_of(m.name);
    const int64_t groups = m.view.cols / m.format->group_size;
    all.push_back({m.name, DType::kU32, {m.view.rows, m.view.cols * m.format->bits / 32}});
    all.push_back({module + ".scales", DType::kBF16, {m.view.rows, groups}});
    all.push_back({module + ".biases", DType::kBF16, {m.view.rows, groups}});
  }
  for (const PlannedVector& v : plan.vectors)
    if (v.dtype == DType::kF32) all.push_back({v.name, v.dtype, {static_cast<int64_t>(v.values.size())}});
  for (const PlannedMatrix& m : plan.matrices)
    if (!m.format) all.push_back({m.name, DType::kBF16, {m.view.rows, m.view.cols}});
  for (const PlannedVector& v : plan.vectors)
    if (v.dtype == DType::kBF16) all.push_back({v.name, v.dtype, {static_cast<int64_t>(v.values.size())}});
  return all;
}

class WeightsWriter {
 public:
  WeightsWriter(const Checkpoint& model, const fs::path& path, const Plan& plan,
                const MlxWriteOptions& options)
      : model_(model),
        options_(options),
        rows_(options.threads, plan.elements, options.progress),
        out_(path, declarations(plan), {{"format", "mlx"}}) {}

  void write(const Plan& plan) {
    for (const PlannedMatrix& m : plan.matrices)
      if (m.format) write_quantized(m);
    for (const PlannedVector& v : plan.vectors)
      if (v.dtype == DType::kF32) out_.write(v.name, std::as_bytes(std::span(v.values)));
    for (const PlannedMatrix& m : plan.matrices)
      if (!m.format) write_bf16(m);
    for (const PlannedVector& v : plan.vectors)
      if (v.dtype == DType::kBF16) write_bf16(v);
    out_.finish();
  }

 private:
  void write_quantized(const PlannedMatrix& m) {
    const AffineEncoding encoding{m.format->bits, m.format->group_size, options_.method};
    const auto cols = static_cast<size_t>(m.view.cols);
    const size_t row_bytes = cols * static_cast<size_t>(encoding.bits) / 8;
    const size_t groups = cols / static_cast<size_t>(encoding.group_size);
    const ErrorCarry carry = carry_of(m);
    const InputWeights inputs{carry.energy, carry.carry};

    std::vector<uint16_t> scales(static_cast<size_t>(m.view.rows) * groups);
    std::vector<uint16_t> biases(scales.size());
    const int64_t piece = WeightRows::rows_a_piece(m.view);
    std::vector<std::byte> codes(static_cast<size_t>(piece) * row_bytes);
    for (int64_t begin = 0; begin < m.view.rows; begin += piece) {
      const int64_t end = std::min(m.view.rows, begin + piece);
      rows_.read(m.name, m.view, begin, end, kMaxBf16, [&](int64_t row, WeightRows::Row values) {
        const auto at = static_cast<size_t>(row);
        encode_affine_row(
            values.decoded, encoding, inputs, values.scratch,
            {std::span(codes).subspan(static_cast<size_t>(row - begin) * row_bytes, row_bytes),
             std::span(scales).subspan(at * groups, groups), std::span(biases).subspan(at * groups, groups)});
      });
      out_.write(m.name, std::span(codes).first(static_cast<size_t>(end - begin) * row_bytes));
    }
    const std::string module = module_of(m.name);
    out_.write(module + ".scales", std::as_bytes(std::span(scales)));
    out_.write(module + ".biases", std::as_bytes(std::span(biases)));
    model_.weights->release(m.view);
  }

  /// What calibration says of a matrix. Damping is large because a text of some thousand tokens is a rough
  /// estimate. The head is the embedding, too, whose rows go into the model as they are: there no column
  /// makes up for another, so it gets more.
  [[nodiscard]] ErrorCarry carry_of(const PlannedMatrix& m) {
    const double damping = m.name == kEmbedding ? 1 : 0.1;
    const auto found = options_.calibration.find(m.name);
    const auto cols = static_cast<size_t>(m.view.cols);
    if (found == options_.calibration.end() || found->second.energy.size() != cols) return {};
    const InputMoments& input = found->second;
    if (input.moments.size() == cols * cols)
      if (ErrorCarry carry = error_carry(input.moments, cols, damping, rows_.pool()); !carry.energy.empty())
        return carry;
    return {input.energy, {}};
  }

  void write_bf16(const PlannedMatrix& m) {
    const auto cols = static_cast<size_t>(m.view.cols);
    const int64_t piece = WeightRows::rows_a_piece(m.view);
    std::vector<uint16_t> halves(static_cast<size_t>(piece) * cols);
    for (int64_t begin = 0; begin < m.view.rows; begin += piece) {
      const int64_t end = std::min(m.view.rows, begin + piece);
      rows_.read(m.name, m.view, begin, end, kMaxBf16, [&](int64_t row, WeightRows::Row values) {
        std::ranges::transform(values.decoded,
                               halves.begin() + static_cast<std::ptrdiff_t>(row - begin) * m.view.cols,
                               f32_to_bf16);
      });
      out_.write(m.name, std::as_bytes(std::span(halves).first(static_cast<size_t>(end - begin) * cols)));
    }
    model_.weights->release(m.view);
  }

  void write_bf16(const PlannedVector& v) {
    std::vector<uint16_t> halves(v.values.size());
    std::ranges::transform(v.values, halves.begin(), f32_to_bf16);
    out_.write(v.name, std::as_bytes(std::span(halves)));
  }

  const Checkpoint& model_;
  const MlxWriteOptions& options_;
  WeightRows rows_;
  SafetensorsWriter out_;
};

/// config.json's "quantization": the commonest format, and what differs from it.
nlohmann::ordered_json quantization(const Plan& plan, const MlxWriteOptions& options) {
  const AffineFormat base{options.bits == 16 ? 8 : options.bits, options.group_size};
  nlohmann::ordered_json section = {{"group_size", base.group_size}, {"bits", base.bits}, {"mode", "affine"}};
  for (const PlannedMatrix& m : plan.matrices) {
    if (!m.format)
      section[module_of(m.name)] = false;
    else if (m.format->bits != base.bits || m.format->group_size != base.group_size)
      section[module_of(m.name)] = {{"group_size", m.format->group_size}, {"bits", m.format->bits}};
  }
  return section;
}

void write_text(const fs::path& path, std::string_view text) {
  AtomicFile file(path);
  file.write(text);
  file.commit();
}

void write_json(const fs::path& path, const nlohmann::ordered_json& json) {
  write_text(path, json.dump(1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
}

/// The tokenizer's files where the model's directory has them; else made of what a GGUF file holds.
void write_tokenizer(const Checkpoint& model, const fs::path& to) {
  if (!model.tokenizer_file) return;
  if (model.tokenizer_file->filename() != "tokenizer.json") {
    if (const auto vocabulary = open_vocabulary(model))
      write_text(to / "tokenizer.json", text::tokenizer_json(*vocabulary));
    if (const auto chat = chat_template(model)) write_text(to / "chat_template.jinja", *chat);
    return;
  }
  for (const char* name :
       {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja"}) {
    const fs::path from = model.tokenizer_file->parent_path() / name;
    std::error_code error;
    if (!fs::exists(from, error)) continue;
    // The cache of the hub holds links; the copy must be a file.
    fs::copy_file(fs::canonical(from, error), to / name, error);
    if (error)
      throw Error(ErrorCode::kFailed, fmt::format("{}: cannot copy: {}", from.string(), error.message()));
  }
}

}  // namespace

void check_mlx_holds(const Checkpoint& model) {
  if (std::ranges::any_of(model.spec.layers, [](const LayerSpec& l) { return l.moe.has_value(); }))
    throw Error(ErrorCode::kFailed, "writing MLX: a mixture of experts is not supported; GGUF holds one");
}

void write_mlx(const Checkpoint& model, const fs::path& directory, const MlxWriteOptions& options) {
  const Plan plan = make_plan(model, options);
  nlohmann::ordered_json config = hf_config(model.spec);
  const bool quantized =
      std::ranges::any_of(plan.matrices, [](const PlannedMatrix& m) { return m.format.has_value(); });
  if (quantized) config["quantization"] = quantization(plan, options);

  AtomicDirectory out(directory);
  write_json(out.temporary() / "config.json", config);
  write_json(out.temporary() / "generation_config.json", hf_generation_config(model.spec, model.generation));
  write_tokenizer(model, out.temporary());
  WeightsWriter(model, out.temporary() / "model.safetensors", plan, options).write(plan);
  out.commit();
}

}  // namespace facet
