// Mixture of experts: each expert's rows are gathered and run through its slice of the packed weights
// together.
#include <algorithm>

#include "backend/cpu/cpu_backend.h"
#include "backend/top_experts.h"

namespace facet {

void CpuBackend::reserve_experts() {
  ExpertScratch& e = experts_;
  const int64_t rows = limits_.rows;
  e.in.resize(static_cast<size_t>(rows * limits_.hidden));
  e.out.resize(e.in.size());
  e.gate.resize(static_cast<size_t>(rows * widest_));
  e.up.resize(e.gate.size());
  e.rows.resize(static_cast<size_t>(rows));
  e.row_weights.resize(static_cast<size_t>(rows));
  e.chosen.resize(static_cast<size_t>(rows) * kMaxExpertsPerToken);
  e.weights.resize(e.chosen.size());
}

void CpuBackend::experts(const float* h, const float* probabilities, int rows, const MoeArgs& moe,
                         float* out) noexcept {
  const int64_t hidden = moe.gate_up->cols();
  ExpertScratch& s = experts_;
  for (int64_t r = 0; r < rows; ++r) {
    const float* p = probabilities + r * moe.experts;
    const auto chosen = top_experts(p, moe.experts, moe.top_k);
    float sum = 0;
    for (int k = 0; k < moe.top_k; ++k) sum += p[chosen[static_cast<size_t>(k)]];
    for (int k = 0; k < moe.top_k; ++k) {
      const int e = chosen[static_cast<size_t>(k)];
      const auto place = static_cast<size_t>(r * moe.top_k + k);
      s.chosen[place] = e;
      s.weights[place] = p[e] / sum * moe.per_expert_scale[e];
    }
  }
  std::fill_n(out, rows * hidden, 0.0F);
  // In the order of the experts for every row, whatever rows share them.
  for (int e = 0; e < moe.experts; ++e) {
    int count = 0;
    for (int r = 0; r < rows; ++r) {
      for (int k = 0; k < moe.top_k; ++k) {
        const auto place = static_cast<size_t>(int64_t{r} * moe.top_k + k);
        if (s.chosen[place] != e) continue;
        s.rows[static_cast<size_t>(count)] = r;
        s.row_weights[static_cast<size_t>(count)] = s.weights[place];
        ++count;
      }
    }
    if (count > 0) run_expert(h, e, count, moe, out);
  }
}

/// Adds expert `e`'s output for the `count` rows listed in the scratch.
void CpuBackend::run_expert(const float* h, int64_t e, int count, const MoeArgs& moe, float* out) noexcept {
  const int64_t hidden = moe.gate_up->cols();
  const int64_t width = moe.ffn_dim;
  ExpertScratch& s = experts_;
  gather_rows(h, s.rows.data(), count, hidden, s.in.data());
  const auto add = [&](StaticRange mine) noexcept {
    for (int64_t i = 0; i < count; ++i) {
      float* to = out + s.rows[static_cast<size_t>(i)] * hidden;
      const float* from = s.out.data() + i * hidden;
      for (int64_t o = mine.begin; o < mine.end; ++o)
        to[o] += s.row_weights[static_cast<size_t>(i)] * from[o];
    }
  };
  if (reading_) {
    read_expert(e, count, moe);
    return add({0, hidden});
  }
  const Input input{.x = s.in.data(), .rows = count, .cols = hidden};
  const Input gated{.x = s.gate.data(), .rows = count, .cols = width};
  const std::array gate_up = {moe.gate_up};
  const std::array down = {moe.down};
  pool_.run([&](int thread) noexcept {
    const Part part{thread, static_range(count, thread, pool_.team()), {0, count}, false};
    prepare(part, input, gate_up);
    pool_.barrier(thread);
    const Activations a = activations(input, *moe.gate_up);
    geglu_rows(thread, a, *moe.gate_up, e * 2 * width, a, *moe.gate_up, e * 2 * width + width,
               share(thread, width, count), s.gate.data(), width, s.up.data());
    pool_.barrier(thread);
    prepare(part, gated, down);
    pool_.barrier(thread);
    const StaticRange mine = share(thread, hidden, count);
    multiply_rows(thread, activations(gated, *moe.down), *moe.down, e * hidden + mine.begin,
                  e * hidden + mine.end, s.out.data() + mine.begin, hidden);
    add(mine);
  });
}

}  // namespace facet
