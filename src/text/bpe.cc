#include "text/bpe.h"

#include <algorithm>

namespace facet::text {
namespace {

constexpr int32_t kMerged = -1;  // a position whose symbol went into its left neighbour
constexpr int32_t kNone = -1;    // no neighbour

constexpr auto kLater = [](const auto& a, const auto& b) { return a.order > b.order; };

}  // namespace

MergeTable::MergeTable(size_t symbols, const std::vector<MergeRule>& rules) : row_begin_(symbols + 1, 0) {
  for (const MergeRule& rule : rules) ++row_begin_[static_cast<size_t>(rule.left) + 1];
  for (size_t i = 1; i < row_begin_.size(); ++i) row_begin_[i] += row_begin_[i - 1];
  entries_.resize(rules.size());
  std::vector<uint32_t> fill(row_begin_.begin(), row_begin_.end() - 1);
  for (const MergeRule& rule : rules)
    entries_[fill[static_cast<size_t>(rule.left)]++] = {rule.right, rule.rank, rule.result};
  for (size_t row = 0; row < symbols; ++row)
    std::stable_sort(entries_.begin() + row_begin_[row], entries_.begin() + row_begin_[row + 1],
                     [](const Entry& a, const Entry& b) { return a.right < b.right; });
}

const MergeTable::Entry* MergeTable::find(int32_t left, int32_t right) const noexcept {
  const Entry* begin = entries_.data() + row_begin_[static_cast<size_t>(left)];
  const Entry* end = entries_.data() + row_begin_[static_cast<size_t>(left) + 1];
  const Entry* after =
      std::upper_bound(begin, end, right, [](int32_t value, const Entry& e) { return value < e.right; });
  return after != begin && (after - 1)->right == right ? after - 1 : nullptr;
}

void BpeMerger::consider(const std::vector<int32_t>& symbols, int32_t left_at, int32_t right_at) {
  const int32_t left = symbols[static_cast<size_t>(left_at)];
  const int32_t right = symbols[static_cast<size_t>(right_at)];
  const MergeTable::Entry* rule = table_.find(left, right);
  if (rule == nullptr) return;
  heap_.push_back(
      {(static_cast<uint64_t>(static_cast<uint32_t>(rule->rank)) << 32U) | static_cast<uint32_t>(left_at),
       left, right, rule->result});
}

void BpeMerger::push(const std::vector<int32_t>& symbols, int32_t left_at, int32_t right_at) {
  if (left_at == kNone || right_at == kNone) return;
  const size_t before = heap_.size();
  consider(symbols, left_at, right_at);
  if (heap_.size() != before) std::push_heap(heap_.begin(), heap_.end(), kLater);
}

void BpeMerger::merge(std::vector<int32_t>& symbols) {
  const auto count = static_cast<int32_t>(symbols.size());
  if (count < 2) return;
  previous_.resize(symbols.size());
  next_.resize(symbols.size());
  heap_.clear();
  for (int32_t i = 0; i < count; ++i) {
    previous_[static_cast<size_t>(i)] = i - 1;
    next_[static_cast<size_t>(i)] = i + 1 < count ? i + 1 : kNone;
  }
  for (int32_t i = 0; i + 1 < count; ++i) consider(symbols, i, i + 1);
  std::make_heap(heap_.begin(), heap_.end(), kLater);

  while (!heap_.empty()) {
    const Candidate best = heap_.front();
    std::pop_heap(heap_.begin(), heap_.end(), kLater);
    heap_.pop_back();
    const auto at = static_cast<int32_t>(best.order & 0xFFFFFFFFU);
    const auto left = static_cast<size_t>(at);
    // A symbol only ever grows, so an outdated candidate no longer finds its two symbols here.
    if (symbols[left] != best.left || next_[left] == kNone) continue;
    const auto right = static_cast<size_t>(next_[left]);
    if (symbols[right] != best.right) continue;
    symbols[left] = best.result;
    symbols[right] = kMerged;
    next_[left] = next_[right];
    if (next_[left] != kNone) previous_[static_cast<size_t>(next_[left])] = at;
    push(symbols, previous_[left], at);
    push(symbols, at, next_[left]);
  }
  symbols.erase(std::remove(symbols.begin(), symbols.end(), kMerged), symbols.end());
}

}  // namespace facet::text
