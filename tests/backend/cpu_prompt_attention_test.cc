// Attention over prompts in bf16 against the reference backend, and a row's result against itself in other
// company.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>
#include <string>

#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/isa.h"
#include "backend/reference/reference.h"
#include "support/random_matrix.h"

namespace facet {
namespace {

using testing::random_floats;
using testing::relative_rms;

// Weights are rounded to bf16, a deviation of 2⁻⁹ / √3 = 1.1e-3 each, and codes' values once more.
constexpr double kBf16Bound = 2e-3;
constexpr double kQ8Bound = 3e-3;

struct PromptCase {
  int head_dim, group, kv_heads, window;
  KvType type;
  [[nodiscard]] int q_heads() const { return group * kv_heads; }
  [[nodiscard]] int64_t width() const { return int64_t{q_heads()} * head_dim; }
};

const std::vector<PromptCase> kPromptCases = {
    {256, 8, 1, 512, KvType::kBF16}, {512, 8, 1, 0, KvType::kBF16},   {256, 8, 2, 512, KvType::kQ8},
    {512, 2, 2, 0, KvType::kQ8},     {128, 16, 1, 5, KvType::kBF16},  {16, 1, 4, 0, KvType::kBF16},
    {48, 2, 3, 5, KvType::kQ8},      {32, 40, 1, 100, KvType::kBF16}, {2, 3, 1, 64, KvType::kQ8},
    {50, 1, 2, 512, KvType::kBF16},
};

std::string name_of(const PromptCase& c) {
  return fmt::format("dim {} heads {}/{} window {} type {}", c.head_dim, c.q_heads(), c.kv_heads, c.window,
                     static_cast<int>(c.type));
}

/// A row of a step and its queries.
struct Asked {
  int32_t sequence, position;
};

/// Sequences whose tokens are written as a prompt is read: a sliding layer's pages are a ring.
class Cache {
 public:
  Cache(const PromptCase& c, int sequences, int context, int chunk)
      : case_(c), context_(context), written_(static_cast<size_t>(sequences)) {
    const auto pages_for = [](int tokens) { return (tokens + kPageTokens - 1) / kPageTokens; };
    view.type = c.type;
    view.kv_heads = c.kv_heads;
    view.head_dim = c.head_dim;
    view.stride = pages_for(context);
    if (c.window > 0) view.stride = std::min(view.stride, pages_for(c.window + chunk) + 1);
    pages_.resize(static_cast<size_t>(view.stride) * static_cast<size_t>(sequences));
    std::iota(pages_.begin(), pages_.end(), 0);
    std::shuffle(pages_.begin(), pages_.end(), std::mt19937(5));
    const size_t slots = pages_.size() * kPageTokens * static_cast<size_t>(c.kv_heads);
    // What was never written must not matter: NaN as bf16 and as scales.
    k_.assign(slots * static_cast<size_t>(kv_row_bytes(c.type, c.head_dim)), std::byte{0xff});
    v_ = k_;
    k_scale_.assign(slots, NAN);
    v_scale_.assign(slots, NAN);
    view.k = k_.data();
    view.v = v_.data();
    view.k_scale = k_scale_.data();
    view.v_scale = v_scale_.data();
    view.pages = pages_.data();
    const int64_t floats = int64_t{context} * c.kv_heads * c.head_dim;
    for (int s = 0; s < sequences; ++s) {
      keys_.push_back(random_floats(floats, 10 + static_cast<uint32_t>(s)));
      values_.push_back(random_floats(floats, 20 + static_cast<uint32_t>(s)));
    }
  }

  /// Writes the sequence's tokens up to `end`.
  void write(Backend& backend, int32_t sequence, int32_t end) {
    int32_t& written = written_[static_cast<size_t>(sequence)];
    std::vector<int32_t> positions(static_cast<size_t>(end - written));
    std::iota(positions.begin(), positions.end(), written);
    const std::vector<int32_t> sequences(positions.size(), sequence);
    const Rows rows{static_cast<int>(positions.size()), nullptr, positions.data(), sequences.data()};
    const int64_t from = int64_t{written} * case_.kv_heads * case_.head_dim;
    backend.kv_store(keys_[static_cast<size_t>(sequence)].data() + from,
                     values_[static_cast<size_t>(sequence)].data() + from, rows, view);
    written = end;
  }
  [[nodiscard]] int context() const { return context_; }

  KvView view;

 private:
  PromptCase case_;
  int context_;
  std::vector<int32_t> written_;
  std::vector<int32_t> pages_;
  std::vector<std::byte> k_, v_;
  std::vector<float> k_scale_, v_scale_;
  std::vector<std::vector<float>> keys_, values_;
};

Limits limits_of(const PromptCase& c, int rows, int context) {
  Limits limits;
  limits.rows = rows;
  limits.hidden = 1;
  limits.q_width = static_cast<int>(c.width());
  limits.kv_width = c.kv_heads * c.head_dim;
  limits.q_heads = c.q_heads();
  limits.context = context;
  return limits;
}

/// A token's queries, whatever step it is in.
std::vector<float> queries_of(const PromptCase& c, const std::vector<Asked>& asked) {
  std::vector<float> q;
  for (const Asked& a : asked) {
    const auto seed = static_cast<uint32_t>(1000 + a.sequence * 100'000 + a.position);
    const std::vector<float> row = random_floats(c.width(), seed);
    q.insert(q.end(), row.begin(), row.end());
  }
  return q;
}

std::vector<float> attend(Backend& backend, const PromptCase& c, const KvView& kv,
                          const std::vector<Asked>& asked) {
  std::vector<int32_t> positions;
  std::vector<int32_t> sequences;
  for (const Asked& a : asked) {
    positions.push_back(a.position);
    sequences.push_back(a.sequence);
  }
  const std::vector<float> q = queries_of(c, asked);
  std::vector<float> out(q.size(), NAN);
  // Scores with a deviation of 1.5: neither uniform weights nor a single one.
  const float scale = 1.5F / std::sqrt(static_cast<float>(c.head_dim));
  const AttentionShape shape{c.head_dim, c.q_heads(), c.kv_heads, c.window, scale, nullptr};
  backend.attend(q.data(), {static_cast<int>(asked.size()), nullptr, positions.data(), sequences.data()},
                 shape, kv, out.data());
  return out;
}

std::vector<Asked> chunk_of(int32_t sequence, int32_t begin, int32_t end) {
  std::vector<Asked> asked;
  for (int32_t p = begin; p < end; ++p) asked.push_back({sequence, p});
  return asked;
}

class CpuPromptAttention : public ::testing::TestWithParam<std::string> {};

TEST_P(CpuPromptAttention, MatchesTheReference) {
  for (const PromptCase& c : kPromptCases) {
    SCOPED_TRACE(name_of(c));
    constexpr int kContext = 700;
    CpuBackend cpu({3, GetParam()});
    ReferenceBackend reference;
    cpu.set_reading(true);
    for (Backend* backend : {static_cast<Backend*>(&cpu), static_cast<Backend*>(&reference)})
      backend->reserve(limits_of(c, kContext, kContext));
    Cache cache(c, 2, kContext, kContext);
    cache.write(cpu, 0, kContext);
    cache.write(cpu, 1, 650);
    // Single tokens far apart, chunks, and a sequence's last token beside slots that were never written.
    std::vector<Asked> asked = {{0, 0}, {0, 1}, {0, 63}, {0, 64}, {0, 699}, {1, 511}, {1, 512}};
    for (const auto& [sequence, begin, end] : {std::tuple{1, 240, 290}, {0, 100, 133}, {1, 630, 650}}) {
      const std::vector<Asked> chunk = chunk_of(sequence, begin, end);
      asked.insert(asked.end(), chunk.begin(), chunk.end());
    }
    const auto expected = attend(reference, c, cache.view, asked);
    const auto out = attend(cpu, c, cache.view, asked);
    EXPECT_LE(relative_rms(out, expected), c.type == KvType::kQ8 ? kQ8Bound : kBf16Bound);
  }
}

TEST_P(CpuPromptAttention, RowsDependOnThemselvesAlone) {
  // Short where heads are wide: emulated instructions take their time. The third and the last wrap their
  // rings.
  const std::vector<std::pair<PromptCase, int>> cases = {
      {{256, 8, 1, 70, KvType::kBF16}, 140}, {{512, 2, 1, 0, KvType::kQ8}, 140},
      {{32, 2, 1, 512, KvType::kBF16}, 900}, {{34, 1, 2, 512, KvType::kQ8}, 620},
      {{16, 1, 4, 0, KvType::kBF16}, 620},   {{48, 4, 1, 5, KvType::kQ8}, 330},
  };
  for (const auto& [c, context] : cases) {
    SCOPED_TRACE(name_of(c));
    constexpr int kChunk = 100;
    // The whole prompt in one step is what every other way of reading it is held against.
    CpuBackend whole({1, GetParam()});
    whole.set_reading(true);
    whole.reserve(limits_of(c, context, context));
    Cache whole_cache(c, 2, context, context);
    whole_cache.write(whole, 0, context);
    whole_cache.write(whole, 1, context);
    const std::vector<Asked> all = chunk_of(0, 0, context);
    const std::vector<float> expected = attend(whole, c, whole_cache.view, all);

    for (const auto& [threads, chunk] : {std::pair{2, 1}, {1, 37}, {3, 37}, {2, kChunk}}) {
      SCOPED_TRACE(fmt::format("{} threads, chunks of {}", threads, chunk));
      CpuBackend cpu({threads, GetParam()});
      cpu.set_reading(true);
      cpu.reserve(limits_of(c, 2 * kChunk, context));
      Cache cache(c, 2, context, kChunk);
      for (int32_t begin = 0; begin < context; begin += chunk) {
        const int32_t end = std::min(begin + chunk, context);
        cache.write(cpu, 0, end);
        cache.write(cpu, 1, end);
        if (chunk == 1 && begin % 29 != 0) continue;
        std::vector<Asked> asked = chunk_of(0, begin, end);
        // Every other step has rows of the other sequence before and after.
        const size_t before = begin / chunk % 2 == 1 ? 3 : 0;
        for (size_t i = 0; i < before; ++i) {
          asked.insert(asked.begin(), {1, end - 1});
          asked.push_back({1, begin});
        }
        const std::vector<float> out = attend(cpu, c, cache.view, asked);
        const auto row = [&](const std::vector<float>& x, size_t r) {
          const auto at = x.begin() + static_cast<int64_t>(r) * c.width();
          return std::vector<float>(at, at + c.width());
        };
        for (int32_t p = begin; p < end; ++p)
          ASSERT_EQ(row(out, before + static_cast<size_t>(p - begin)), row(expected, static_cast<size_t>(p)))
              << "position " << p;
      }
    }
  }
}

/// The sets whose rows are attended otherwise when they are read.
std::vector<std::string> reading_isas() {
  std::vector<std::string> names;
  for (const cpu::KernelTable* table : cpu::available_kernels())
    if (table->attend_prompt != nullptr) names.emplace_back(table->name);
  return names;
}
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(CpuPromptAttention);
INSTANTIATE_TEST_SUITE_P(Isa, CpuPromptAttention, ::testing::ValuesIn(reading_isas()),
                         [](const auto& isa) { return isa.param; });

}  // namespace
}  // namespace facet
