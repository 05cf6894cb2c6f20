#include "engine/step_lanes.h"

#include <algorithm>

namespace facet {
namespace {

/// Most rows that a lane takes at a time.
constexpr int kMostRows = 128;
/// A row that goes through all layers and the head costs about as much as three that fill the cache.
constexpr int64_t kOutputCost = 2;  // on top of its row's 1
/// So much at a time: fewer rows share too little of the weights' way out of the cache, more leave no choice
/// to a thread that comes late.
constexpr int64_t kLeastCost = 4 * (1 + kOutputCost);
constexpr int64_t kMostCost = 16 * (1 + kOutputCost);

}  // namespace

StepLanes::StepLanes(const ModelSpec& spec, const ModelWeights& weights, KvCache& cache, Backend& backend,
                     const ForwardPass& forward)
    : backend_(backend), cache_(cache), vocab_(static_cast<size_t>(spec.vocab_size)) {
  if (cache.options().sequences < 2) return;
  const int rows = std::min(kMostRows, forward.max_rows());
  for (auto& lane : backend.make_lanes()) {
    auto pass = std::make_unique<ForwardPass>(spec, weights, cache, *lane, rows, /*max_logit_rows=*/0);
    lanes_.push_back({std::move(lane), std::move(pass)});
  }
  if (lanes_.empty()) return;
  most_outputs_ = static_cast<size_t>(forward.max_logit_rows());
  outputs_.resize(most_outputs_);
  logits_.resize(most_outputs_ * vocab_);
  units_.reserve(static_cast<size_t>(forward.max_rows()));
  work_ = [this](int lane, int unit) {
    run_unit(lanes_[static_cast<size_t>(lane)], units_[static_cast<size_t>(unit)]);
  };
}

/// Fills units_: about the same work each, cut between sequences. False when threads would rather share the
/// operations.
bool StepLanes::divide(const Step& step) {
  const int64_t team = backend_.lane_team();
  const auto rows = static_cast<int64_t>(step.tokens.size());
  const int64_t most_rows = lanes_.front().forward->max_rows();
  const auto cost = rows + kOutputCost * static_cast<int64_t>(step.outputs.size());
  if (team < 2 || cost < team * kLeastCost || step.outputs.size() > most_outputs_) return false;
  const int64_t count = (cost + team * kMostCost - 1) / (team * kMostCost) * team;
  units_.clear();
  int64_t before = 0;
  int64_t last = -1;
  size_t output = 0;
  for (size_t row = 0; row < step.tokens.size();) {
    Unit part{row, row, output, output};
    while (part.row_end < step.tokens.size() && step.sequences[part.row_end] == step.sequences[row])
      ++part.row_end;
    while (output < step.outputs.size() && static_cast<size_t>(step.outputs[output]) < part.row_end) ++output;
    part.output_end = output;
    const auto part_rows = static_cast<int64_t>(part.row_end - row);
    const int64_t own = part_rows + kOutputCost * static_cast<int64_t>(part.output_end - part.output_begin);
    if (part_rows > most_rows || own * team * 4 > cost * 5) return false;  // the others would wait for it
    const int64_t unit = (before + own / 2) * count / cost;
    if (unit != last || static_cast<int64_t>(part.row_end - units_.back().row_begin) > most_rows) {
      units_.push_back(part);
    } else {
      units_.back().row_end = part.row_end;
      units_.back().output_end = part.output_end;
    }
    last = unit;
    before += own;
    row = part.row_end;
  }
  return true;
}

bool StepLanes::run(const Step& step) {
  if (lanes_.empty() || backend_.tapped() || !divide(step)) return false;
  cache_.upload_tables();
  step_ = &step;
  backend_.each_in_lanes(static_cast<int>(units_.size()), work_);
  return true;
}

void StepLanes::run_unit(Lane& lane, const Unit& unit) {
  const size_t rows = unit.row_end - unit.row_begin;
  const size_t count = unit.output_end - unit.output_begin;
  const auto outputs = std::span(outputs_).subspan(unit.output_begin, count);
  for (size_t i = 0; i < count; ++i)
    outputs[i] = step_->outputs[unit.output_begin + i] - static_cast<int32_t>(unit.row_begin);
  lane.forward->run({step_->tokens.subspan(unit.row_begin, rows),
                     step_->positions.subspan(unit.row_begin, rows),
                     step_->sequences.subspan(unit.row_begin, rows), outputs});
  if (count > 0)
    lane.forward->logits_to(0, static_cast<int>(count), logits_.data() + unit.output_begin * vocab_);
}

std::span<const float> StepLanes::logits(int first, int count) const noexcept {
  return std::span(logits_).subspan(static_cast<size_t>(first) * vocab_, static_cast<size_t>(count) * vocab_);
}

}  // namespace facet
