#include "engine/perplexity.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/error.h"
#include "base/thread_pool.h"

namespace facet {
namespace {

struct LogSum {
  float top = 0;       ///< the largest logit
  double log_sum = 0;  ///< ln Σ exp(logit − top)
};

/// In blocks, so that f32 sums of 10⁵ terms lose nothing that shows and the exponentials stay f32.
LogSum log_sum(std::span<const float> logits) noexcept {
  constexpr size_t kBlock = 1024;
  LogSum result;
  result.top = *std::ranges::max_element(logits);
  double sum = 0;
  for (size_t begin = 0; begin < logits.size(); begin += kBlock) {
    float part = 0;
    for (const float x : logits.subspan(begin, std::min(kBlock, logits.size() - begin)))
      part += std::exp(x - result.top);
    sum += static_cast<double>(part);
  }
  result.log_sum = std::log(sum);
  return result;
}

double nll_of(std::span<const float> logits, const LogSum& sum, int32_t token) noexcept {
  return sum.log_sum - static_cast<double>(logits[static_cast<size_t>(token)] - sum.top);
}

/// Σ p (ln p − ln q), with both as logits.
double divergence(std::span<const float> p, const LogSum& p_sum, std::span<const float> q,
                  const LogSum& q_sum) noexcept {
  const double shift = static_cast<double>(q_sum.top - p_sum.top) + q_sum.log_sum - p_sum.log_sum;
  const auto p_scale = static_cast<float>(p_sum.log_sum);
  double kl = 0;
  for (size_t i = 0; i < p.size(); ++i) {
    const float log_p = p[i] - p_sum.top - p_scale;
    if (log_p < -60) continue;  // adds less than 1e-24
    kl += static_cast<double>(std::exp(log_p)) * (static_cast<double>(p[i] - q[i]) + shift);
  }
  return kl;
}

/// Runs one window through an engine.
class WindowReader {
 public:
  explicit WindowReader(Engine& engine) : engine_(engine), sequence_(engine.cache().open()) {}
  ~WindowReader() { engine_.cache().close(sequence_); }
  WindowReader(const WindowReader&) = delete;
  WindowReader& operator=(const WindowReader&) = delete;

  /// Appends a chunk; its logits can be asked for until the next one.
  void step(std::span<const int32_t> tokens) {
    engine_.step({sequence_, tokens, Want::kAll}, /*whole=*/true);
  }
  [[nodiscard]] std::span<const float> logits(int first, int count) { return engine_.logits(first, count); }

 private:
  Engine& engine_;
  int sequence_;
};

class Scorer {
 public:
  Scorer(Engine& model, Engine* reference, const PerplexityOptions& options, int64_t total)
      : model_(model), reference_(reference), options_(options), total_(total) {}

  /// `window`: the prefix and the tokens after it. Positions from `first` on are scored: position i says what
  /// it expected of token i + 1.
  void score(std::span<const int32_t> window, size_t first) {
    WindowReader model(model_);
    std::optional<WindowReader> reference;
    if (reference_ != nullptr) reference.emplace(*reference_);
    auto chunk = static_cast<size_t>(model_.max_rows());
    auto rows = static_cast<size_t>(model_.max_logit_rows());
    if (reference_ != nullptr) {
      chunk = std::min(chunk, static_cast<size_t>(reference_->max_rows()));
      rows = std::min(rows, static_cast<size_t>(reference_->max_logit_rows()));
    }
    for (size_t begin = 0; begin + 1 < window.size(); begin += chunk) {
      const size_t count = std::min(chunk, window.size() - 1 - begin);
      model.step(window.subspan(begin, count));
      if (reference) reference->step(window.subspan(begin, count));
      for (size_t row = 0; row < count; row += rows) {
        if (options_.cancel != nullptr && *options_.cancel)
          throw Error(ErrorCode::kInterrupted, "interrupted");
        const size_t part = std::min(rows, count - row);
        const auto logits = model.logits(static_cast<int>(row), static_cast<int>(part));
        const auto expected =
            reference ? reference->logits(static_cast<int>(row), static_cast<int>(part)) : logits;
        add(logits, expected, window.subspan(begin + row + 1, part), begin + row, first);
      }
    }
    ++result_.windows;
  }

  [[nodiscard]] Perplexity result() const {
    Perplexity result = result_;
    if (reference_ != nullptr) {
      result.mean_kl = kl_ / static_cast<double>(result.tokens);
      result.same_top = static_cast<double>(same_top_) / static_cast<double>(result.tokens);
      result.reference_nll = reference_nll_;
    }
    return result;
  }

 private:
  /// Logits of positions [position, position + targets.size()).
  void add(std::span<const float> logits, std::span<const float> expected, std::span<const int32_t> targets,
           size_t position, size_t first) {
    const auto vocab = static_cast<size_t>(model_.spec().vocab_size);
    scores_.resize(targets.size());
    pool_.run([&](int thread) noexcept {
      const auto [begin, end] = static_range(static_cast<int64_t>(targets.size()), thread, pool_.team());
      for (auto r = static_cast<size_t>(begin); r < static_cast<size_t>(end); ++r)
        scores_[r] =
            score_position(logits.subspan(r * vocab, vocab), expected.subspan(r * vocab, vocab), targets[r]);
    });
    for (size_t r = 0; r < targets.size(); ++r) {
      if (position + r < first) continue;
      const PositionScore& score = scores_[r];
      if (!std::isfinite(score.nll) || !std::isfinite(score.reference_nll) || !std::isfinite(score.kl))
        throw Error(ErrorCode::kFailed,
                    fmt::format("window {}, position {}: expected finite logits, got others", result_.windows,
                                position + r));
      result_.nll += score.nll;
      reference_nll_ += score.reference_nll;
      kl_ += score.kl;
      same_top_ += score.same_top ? 1 : 0;
      ++result_.tokens;
    }
    if (options_.progress) options_.progress(result_.tokens, total_);
  }

  Engine& model_;
  Engine* reference_;
  const PerplexityOptions& options_;
  int64_t total_;
  ThreadPool pool_;
  std::vector<PositionScore> scores_;
  Perplexity result_;
  double reference_nll_ = 0;
  double kl_ = 0;
  int64_t same_top_ = 0;
};

void check_pair(const Engine& model, const Engine& reference) {
  const auto expect = [](std::string_view what, int expected, int got) {
    if (expected != got)
      throw bad_input(
          fmt::format("the reference's {}: expected {}, as the model's, got {}", what, expected, got));
  };
  expect("vocabulary", model.spec().vocab_size, reference.spec().vocab_size);
  expect("context", model.context(), reference.context());
}

}  // namespace

double Perplexity::perplexity() const noexcept {
  return std::exp(mean_nll());
}

double Perplexity::bits_per_byte(int64_t bytes) const noexcept {
  return nll / std::numbers::ln2 / static_cast<double>(bytes);
}

PositionScore score_position(std::span<const float> logits, std::span<const float> reference,
                             int32_t token) noexcept {
  PositionScore score;
  const LogSum sum = log_sum(logits);
  score.nll = nll_of(logits, sum, token);
  if (reference.data() == logits.data()) {
    score.reference_nll = score.nll;
    score.same_top = true;
    return score;
  }
  const LogSum reference_sum = log_sum(reference);
  score.reference_nll = nll_of(reference, reference_sum, token);
  score.kl = divergence(reference, reference_sum, logits, sum);
  score.same_top = std::ranges::max_element(logits) - logits.begin() ==
                   std::ranges::max_element(reference) - reference.begin();
  return score;
}

Perplexity score_text(Engine& model, Engine* reference, std::span<const int32_t> ids,
                      const PerplexityOptions& options) {
  if (reference != nullptr) check_pair(model, *reference);
  model.check_tokens(ids);
  const auto context = static_cast<size_t>(model.context());
  const size_t prefix = options.prefix.size();
  const size_t unscored = prefix == 0 ? 1 : 0;  // of each window
  if (context < prefix + unscored + 1)
    throw bad_input(fmt::format("a context of {}: expected at least {}", context, prefix + unscored + 1));
  if (ids.size() <= unscored)
    throw bad_input(fmt::format("the text: expected at least {} tokens, got {}", unscored + 1, ids.size()));
  const size_t step = context - prefix;
  const size_t windows = (ids.size() + step - 1) / step;
  Scorer scorer(model, reference, options, static_cast<int64_t>(ids.size() - windows * unscored));
  std::vector<int32_t> window;
  for (size_t begin = 0; begin < ids.size(); begin += step) {
    const auto part = ids.subspan(begin, std::min(step, ids.size() - begin));
    window.assign(options.prefix.begin(), options.prefix.end());
    window.insert(window.end(), part.begin(), part.end());
    scorer.score(window, prefix == 0 ? 0 : prefix - 1);
  }
  return scorer.result();
}

}  // namespace facet
