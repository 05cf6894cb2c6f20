#include "engine/benchmark.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <fstream>
#include <numeric>
#include <random>

#include "base/error.h"

namespace facet {
namespace {

/// Opens sequences and closes them again.
class OpenSequences {
 public:
  OpenSequences(KvCache& cache, int count) : cache_(cache) {
    for (int i = 0; i < count; ++i) {
      const int id = cache.open();
      if (id < 0)
        throw Error(ErrorCode::kUsage, fmt::format("batch {}: no slot for sequence {}", count, i + 1));
      ids_.push_back(id);
    }
  }
  ~OpenSequences() {
    for (const int id : ids_) cache_.close(id);
  }
  OpenSequences(const OpenSequences&) = delete;
  OpenSequences& operator=(const OpenSequences&) = delete;
  [[nodiscard]] const std::vector<int>& ids() const noexcept { return ids_; }

 private:
  KvCache& cache_;
  std::vector<int> ids_;
};

std::vector<int32_t> random_tokens(int count, int vocab) {
  std::mt19937 random(static_cast<uint32_t>(count));
  std::uniform_int_distribution<int32_t> pick(0, vocab - 1);
  std::vector<int32_t> tokens(static_cast<size_t>(count));
  for (int32_t& t : tokens) t = pick(random);
  return tokens;
}

/// Feeds `tokens` in chunks; the last token's hidden state is made when `want_last`.
void feed(Engine& engine, int sequence, std::span<const int32_t> tokens, bool want_last) {
  const auto chunk = static_cast<size_t>(engine.max_rows());
  for (size_t done = 0; done < tokens.size(); done += chunk) {
    const size_t count = std::min(chunk, tokens.size() - done);
    const bool last = done + count == tokens.size();
    engine.step({sequence, tokens.subspan(done, count), last && want_last ? Want::kLast : Want::kNothing});
  }
}

/// What a greedy sampler waits for: the likeliest token, or the logits where the backend leaves it to the
/// host.
void draw(Engine& engine, int outputs) {
  if (engine.top(0, outputs, 1).empty()) static_cast<void>(engine.logits(0, outputs));
}

/// Seconds of one run.
double run_once(Engine& engine, const BenchmarkTest& test, std::span<const int32_t> tokens) {
  const OpenSequences sequences(engine.cache(), test.kind == BenchmarkTest::Kind::kDecode ? test.batch : 1);
  const auto depth = static_cast<size_t>(test.depth);
  for (const int id : sequences.ids()) feed(engine, id, tokens.first(depth), false);
  engine.backend().finish();
  const auto start = std::chrono::steady_clock::now();
  if (test.kind == BenchmarkTest::Kind::kPrompt) {
    feed(engine, sequences.ids().front(), tokens.subspan(depth), true);
    draw(engine, 1);
  } else {
    std::vector<SequenceTokens> parts(sequences.ids().size());
    for (int i = 0; i < test.tokens; ++i) {
      for (size_t s = 0; s < parts.size(); ++s)
        parts[s] = {sequences.ids()[s], tokens.subspan(depth + static_cast<size_t>(i), 1), Want::kLast};
      engine.step(parts);
      draw(engine, static_cast<int>(parts.size()));
    }
  }
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// Keys that a token at `position` sees in `layer`.
double visible(const LayerSpec& layer, int position) noexcept {
  return layer.window > 0 ? std::min(position + 1, layer.window) : position + 1;
}

int64_t status_kilobytes(std::string_view key) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with(key)) return std::atoll(line.c_str() + key.size() + 1);
  return 0;
}

}  // namespace

std::string BenchmarkTest::name() const {
  std::string name = fmt::format("{}{}", kind == Kind::kPrompt ? "pp" : "tg", tokens);
  if (depth > 0) name += fmt::format("@d{}", depth);
  if (batch > 1) name += fmt::format(" b{}", batch);
  return name;
}

double Samples::mean() const noexcept {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

double Samples::stddev() const noexcept {
  if (values.size() < 2) return 0;
  const double m = mean();
  double squares = 0;
  for (const double v : values) squares += (v - m) * (v - m);
  return std::sqrt(squares / static_cast<double>(values.size() - 1));
}

double weight_bytes_per_step(const Engine& engine) {
  const WeightSource& source = *engine.checkpoint().weights;
  double bytes = 0;
  for (const WeightRow& row : weight_table(engine.spec())) {
    if (row.use != WeightRow::Use::kMatmul) continue;
    double part = 1;
    if (row.name.find(".experts.") != std::string::npos)
      for (const LayerSpec& layer : engine.spec().layers)
        if (layer.moe) part = static_cast<double>(layer.moe->top_k) / layer.moe->experts;
    bytes += part * static_cast<double>(source.matrix(row.name)->bytes());
  }
  return bytes;
}

double cache_bytes_at(const ModelSpec& spec, KvType type, int position) {
  double bytes = 0;
  for (const LayerSpec& layer : spec.layers)
    bytes += visible(layer, position) * 2 * layer.kv_heads *
             (static_cast<double>(kv_row_bytes(type, layer.head_dim)) + (type == KvType::kQ8 ? 4 : 0));
  return bytes;
}

double ops_at(const ModelSpec& spec, int position, bool whole) {
  const int last_owner = spec.last_kv_owner();
  const int layers = whole ? spec.layer_count() : last_owner + 1;
  const double hidden = spec.hidden_size;
  double macs = whole ? hidden * spec.vocab_size : 0;
  if (spec.ple_dim > 0) macs += (whole ? layers : last_owner) * double{hidden} * spec.ple_dim;
  for (int l = 0; l < layers; ++l) {
    const LayerSpec& layer = spec.layers[static_cast<size_t>(l)];
    const double q_width = double{1} * layer.q_heads * layer.head_dim;
    const double kv_width = double{1} * layer.kv_heads * layer.head_dim;
    if (spec.owns_kv(l)) macs += hidden * kv_width * (layer.v_from_k ? 1 : 2);
    if (!whole && l == last_owner) continue;  // only its K and V are wanted
    macs += 2 * hidden * q_width + 2 * visible(layer, position) * q_width + 3 * hidden * layer.ffn_dim;
    if (layer.moe) macs += hidden * layer.moe->experts + 3 * hidden * layer.moe->ffn_dim * layer.moe->top_k;
    if (spec.ple_dim > 0) macs += 2 * hidden * spec.ple_dim;
  }
  return 2 * macs;
}

BenchmarkResult run_benchmark(Engine& engine, const BenchmarkTest& test, int repetitions, Profile* profile) {
  if (test.depth + test.tokens > engine.context())
    throw Error(ErrorCode::kUsage, fmt::format("{}: {} tokens do not fit a context of {}", test.name(),
                                               test.depth + test.tokens, engine.context()));
  const auto tokens = random_tokens(test.depth + test.tokens, engine.spec().vocab_size);
  const bool decode = test.kind == BenchmarkTest::Kind::kDecode;
  const int sequences = decode ? test.batch : 1;
  BenchmarkResult result;
  result.test = test;
  // A few tokens warm a decode up as well as all of them.
  BenchmarkTest warm_up = test;
  if (decode) warm_up.tokens = std::min(test.tokens, 8);
  const auto warm_tokens = static_cast<size_t>(test.depth) + static_cast<size_t>(warm_up.tokens);
  static_cast<void>(run_once(engine, warm_up, std::span(tokens).first(warm_tokens)));
  engine.backend().finish();
  if (profile != nullptr)
    for (auto& [name, time] : *profile) time = {};
  for (int i = 0; i < repetitions; ++i)
    result.tokens_per_s.values.push_back(static_cast<double>(test.tokens) * sequences /
                                         run_once(engine, test, tokens));
  engine.backend().finish();

  const double weights = weight_bytes_per_step(engine);
  double cache = 0;
  for (int i = 0; i < test.tokens; ++i) {
    cache += cache_bytes_at(engine.spec(), engine.cache().options().type, test.depth + i) / test.tokens;
    const bool whole = decode || i + 1 == test.tokens;
    result.ops_per_token += ops_at(engine.spec(), test.depth + i, whole) / test.tokens;
  }
  if (decode) {
    result.bytes_per_step = weights + sequences * cache;
    result.bytes_per_token = result.bytes_per_step / sequences;
  } else {
    result.bytes_per_token = weights * std::ceil(double{1} * test.tokens / engine.max_rows()) / test.tokens;
  }
  return result;
}

int64_t peak_resident_bytes() {
  return status_kilobytes("VmHWM:") * 1024;
}
int64_t anonymous_resident_bytes() {
  return status_kilobytes("RssAnon:") * 1024;
}

}  // namespace facet
