// facet inspect: what a checkpoint holds and what running it takes.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <numeric>

#include "base/error.h"
#include "cli/commands.h"
#include "cli/model_options.h"
#include "cli/terminal.h"
#include "model/weights.h"

namespace facet::cli {
namespace {

using OrderedJson = nlohmann::ordered_json;

std::string human_bytes(int64_t bytes) {
  const auto b = static_cast<double>(bytes);
  if (b >= 1e9) return fmt::format("{:.2f} GB", b / 1e9);
  if (b >= 1e6) return fmt::format("{:.1f} MB", b / 1e6);
  return fmt::format("{:.1f} kB", b / 1e3);
}

std::string human_count(int64_t n) {
  const auto c = static_cast<double>(n);
  if (c >= 1e9) return fmt::format("{:.2f} G", c / 1e9);
  if (c >= 1e6) return fmt::format("{:.1f} M", c / 1e6);
  return fmt::format("{:.1f} k", c / 1e3);
}

struct TensorInfo {
  WeightRow row;
  std::string stored_name;
  std::string encoding;
  int64_t bytes = 0;
};

/// What the cache holds, in elements of K and V together.
struct CacheSize {
  int64_t ring = 0;       // of all sliding layers, once their window is full
  int64_t per_token = 0;  // of all full layers
};

CacheSize cache_size(const ModelSpec& spec) {
  CacheSize size;
  for (int l = 0; l < spec.layer_count(); ++l) {
    const LayerSpec& layer = spec.layers[static_cast<size_t>(l)];
    if (!spec.owns_kv(l)) continue;
    const int64_t width = 2LL * layer.kv_heads * layer.head_dim;
    (layer.window > 0 ? size.ring : size.per_token) += layer.window > 0 ? width * layer.window : width;
  }
  return size;
}

class InspectCommand final : public Command {
 public:
  CLI::App* declare(CLI::App& program) override {
    CLI::App* app = program.add_subcommand("inspect", "Show a checkpoint's architecture, sizes and formats");
    app->add_option("MODEL", model_,
                    "A directory, a file, or org/name; left out: FACET_MODEL or the demo model")
        ->envname("FACET_MODEL");
    app->add_flag("--tensors", tensors_, "List every weight");
    app->add_flag("--json", json_, "As JSON");
    app->footer("Example:\n  facet inspect ./model --tensors");
    return app;
  }

  [[nodiscard]] bool json() const override { return json_; }

  int run() override {
    const Checkpoint checkpoint = open_model(model_);
    const std::vector<TensorInfo> tensors = read_tensors(checkpoint);
    json_ ? print_json(checkpoint, tensors) : print_text(checkpoint, tensors);
    return 0;
  }

 private:
  static std::vector<TensorInfo> read_tensors(const Checkpoint& checkpoint) {
    std::vector<TensorInfo> tensors;
    for (WeightRow& row : weight_table(checkpoint.spec)) {
      const bool is_matrix = row.use == WeightRow::Use::kMatmul || row.use == WeightRow::Use::kTable;
      const std::string stored = checkpoint.weights->stored_name(row.name);
      TensorInfo info{std::move(row), stored, "f32", 0};
      if (is_matrix) {
        const auto matrix = checkpoint.weights->matrix(info.row.name);
        if (!matrix) throw bad_input(fmt::format("{}: tensor is missing", stored));
        info.encoding = matrix->is_affine()
                            ? fmt::format("{} group {}", encoding_name(matrix->encoding), matrix->group_size)
                            : std::string(encoding_name(matrix->encoding));
        info.bytes = matrix->bytes();
      } else {
        info.bytes = info.row.cols * static_cast<int64_t>(sizeof(float));
        info.encoding = "vector";
      }
      tensors.push_back(std::move(info));
    }
    // The tied head is the embedding once more: it counts once.
    tensors.pop_back();
    return tensors;
  }

  static int64_t parameters(const std::vector<TensorInfo>& tensors) {
    return std::accumulate(tensors.begin(), tensors.end(), int64_t{0},
                           [](int64_t sum, const TensorInfo& t) { return sum + t.row.rows * t.row.cols; });
  }

  static std::map<std::string, int64_t> bytes_by_encoding(const std::vector<TensorInfo>& tensors) {
    std::map<std::string, int64_t> bytes;
    for (const TensorInfo& t : tensors) bytes[t.encoding] += t.bytes;
    return bytes;
  }

  static int64_t table_bytes(const std::vector<TensorInfo>& tensors) {
    int64_t bytes = 0;
    for (const TensorInfo& t : tensors)
      if (t.row.name == "model.embed_tokens_per_layer.weight") bytes += t.bytes;
    return bytes;
  }

  void print_json(const Checkpoint& checkpoint, const std::vector<TensorInfo>& tensors) const {
    const ModelSpec& spec = checkpoint.spec;
    const CacheSize cache = cache_size(spec);
    OrderedJson layers = OrderedJson::array();
    for (int l = 0; l < spec.layer_count(); ++l) {
      const LayerSpec& layer = spec.layers[static_cast<size_t>(l)];
      OrderedJson row = {{"layer", l},
                         {"kind", layer.is_full() ? "full" : "sliding"},
                         {"head_dim", layer.head_dim},
                         {"q_heads", layer.q_heads},
                         {"kv_heads", layer.kv_heads},
                         {"window", layer.window},
                         {"kv_source", layer.kv_source},
                         {"ffn_dim", layer.ffn_dim}};
      if (layer.moe)
        row["experts"] = {
            {"count", layer.moe->experts}, {"top_k", layer.moe->top_k}, {"ffn_dim", layer.moe->ffn_dim}};
      layers.push_back(std::move(row));
    }
    OrderedJson files = OrderedJson::array();
    for (const auto& file : checkpoint.files) files.push_back(file.string());
    OrderedJson out = {{"architecture", spec.architecture},
                       {"format", checkpoint.format},
                       {"files", files},
                       {"file_bytes", checkpoint.bytes},
                       {"parameters", parameters(tensors)},
                       {"vocab_size", spec.vocab_size},
                       {"hidden_size", spec.hidden_size},
                       {"context_length", spec.context_length},
                       {"ple_dim", spec.ple_dim},
                       {"weight_bytes", bytes_by_encoding(tensors)},
                       {"ple_table_bytes", table_bytes(tensors)},
                       {"kv_elements", {{"sliding_total", cache.ring}, {"full_per_token", cache.per_token}}},
                       {"layers", layers},
                       {"warnings", checkpoint.warnings}};
    if (tensors_) {
      OrderedJson list = OrderedJson::array();
      for (const TensorInfo& t : tensors)
        list.push_back({{"name", t.row.name},
                        {"stored_name", t.stored_name},
                        {"shape", {t.row.rows, t.row.cols}},
                        {"encoding", t.encoding},
                        {"bytes", t.bytes}});
      out["tensors"] = std::move(list);
    }
    fmt::print("{}\n", out.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
  }

  void print_text(const Checkpoint& checkpoint, const std::vector<TensorInfo>& tensors) const {
    const ModelSpec& spec = checkpoint.spec;
    const CacheSize cache = cache_size(spec);
    const auto line = [](const char* name, const std::string& value) {
      fmt::print("{:<14}{}\n", name, value);
    };
    line("architecture", spec.architecture);
    line("format", fmt::format("{}, {} in {} file{}", checkpoint.format,
                               human_bytes(static_cast<int64_t>(checkpoint.bytes)), checkpoint.files.size(),
                               checkpoint.files.size() == 1 ? "" : "s"));
    line("parameters", human_count(parameters(tensors)));
    line("vocabulary", fmt::format("{}", spec.vocab_size));
    line("width", fmt::format("{} hidden, {} layers", spec.hidden_size, spec.layer_count()));
    if (spec.ple_dim > 0)
      line("per layer", fmt::format("embeddings of {}, table of {} stays mapped", spec.ple_dim,
                                    human_bytes(table_bytes(tensors))));
    line("context", fmt::format("{} tokens", spec.context_length));
    std::string formats;
    for (const auto& [encoding, bytes] : bytes_by_encoding(tensors))
      formats += fmt::format("{}{} {}", formats.empty() ? "" : ", ", encoding, human_bytes(bytes));
    line("weights", formats);
    line("KV cache", fmt::format("bf16: {} for the sliding layers, {} a token for the full ones",
                                 human_bytes(2 * cache.ring), human_bytes(2 * cache.per_token)));
    fmt::print("\nlayer  kind     heads q/kv  head_dim  window  KV from  MLP\n");
    for (int l = 0; l < spec.layer_count(); ++l) {
      const LayerSpec& layer = spec.layers[static_cast<size_t>(l)];
      fmt::print("{:>5}  {:<7}  {:>6}/{:<3}  {:>8}  {:>6}  {:>7}  {}{}\n", l,
                 layer.is_full() ? "full" : "sliding", layer.q_heads, layer.kv_heads, layer.head_dim,
                 layer.window > 0 ? std::to_string(layer.window) : "-",
                 spec.owns_kv(l) ? "own" : std::to_string(layer.kv_source), layer.ffn_dim,
                 layer.moe ? fmt::format(" + {} of {} experts of {}", layer.moe->top_k, layer.moe->experts,
                                         layer.moe->ffn_dim)
                           : "");
    }
    if (!tensors_) return;
    fmt::print("\n{:<60}  {:>18}  {:<18}  {}\n", "tensor", "shape", "encoding", "bytes");
    for (const TensorInfo& t : tensors)
      fmt::print("{:<60}  {:>18}  {:<18}  {}\n", printable(t.stored_name),
                 fmt::format("[{}, {}]", t.row.rows, t.row.cols), t.encoding, t.bytes);
  }

  std::string model_;
  bool tensors_ = false;
  bool json_ = false;
};

}  // namespace

std::unique_ptr<Command> make_inspect_command() {
  return std::make_unique<InspectCommand>();
}

}  // namespace facet::cli
