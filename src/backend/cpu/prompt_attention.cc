// Attention of a prompt's rows in bf16, where an instruction set has a kernel for it (amx_attention.h).
//
// An item is some rows of one sequence and a key/value head, and one thread's. How many rows it has changes
// no row's result, so that depends on how many there are to be divided.
#include <algorithm>

#include "backend/cpu/cpu_backend.h"

namespace facet {

void CpuBackend::attend_prompt_item(int thread, const AttentionTask& task, const Item& item,
                                    int head) noexcept {
  const KvView& kv = task.kv;
  const int64_t row_bytes = kv_row_bytes(kv.type, kv.head_dim);
  const int64_t row_stride = int64_t{task.shape.q_heads} * task.shape.head_dim;
  const int64_t first = item.begin * row_stride + int64_t{head} * task.group * task.shape.head_dim;
  cpu::PromptAttention args;
  args.q = task.q + first;
  args.out = task.out + first;
  args.row_stride = row_stride;
  args.positions = task.rows.positions + item.begin;
  args.rows = item.end - item.begin;
  args.group = task.group;
  args.head_dim = task.shape.head_dim;
  args.window = task.shape.window;
  args.scale = task.shape.scale;
  args.element = kv_element(kv.type);
  args.k = reinterpret_cast<const unsigned char*>(kv.k + head * row_bytes);
  args.v = reinterpret_cast<const unsigned char*>(kv.v + head * row_bytes);
  if (kv.type == KvType::kQ8) {
    args.k_scale = kv.k_scale + head;
    args.v_scale = kv.v_scale + head;
  }
  args.stride = kv.kv_heads * row_bytes;
  args.scale_stride = kv.kv_heads;
  args.pages = kv.pages + int64_t{task.rows.sequences[item.begin]} * kv.stride;
  args.ring = kv.stride;
  args.scratch = thread_scratch_[static_cast<size_t>(thread)].prompt;
  kernels_.attend_prompt(args);
}

void CpuBackend::attend_prompt(const AttentionTask& task) noexcept {
  // Sixteen queries are multiplied together, so fewer rows would be padded; and a few items a thread, so that
  // none waits long for the last.
  const int fewest = std::max(1, cpu::kLanes / task.group);
  const int most = std::max(1, kPromptQueries / task.group);
  const int a_thread = task.rows.count * task.shape.kv_heads / (4 * pool_.size());
  const int rows = std::clamp(a_thread / fewest * fewest, std::min(fewest, most), most);
  items_.clear();
  for (int row = 0; row < task.rows.count; row = items_.back().end) {
    Item item{row, row + 1, 0, 0, 0};
    while (item.end < task.rows.count && item.end - row < rows &&
           task.rows.sequences[item.end] == task.rows.sequences[row])
      ++item.end;
    items_.push_back(item);
  }
  const auto count = static_cast<int64_t>(items_.size()) * task.shape.kv_heads;
  in_units(count, 1, [&](int thread, StaticRange mine) noexcept {
    for (int64_t i = mine.begin; i < mine.end; ++i) {
      // Last rows first: they see the most keys.
      const int64_t from_end = count - 1 - i;
      attend_prompt_item(thread, task, items_[static_cast<size_t>(from_end / task.shape.kv_heads)],
                         static_cast<int>(from_end % task.shape.kv_heads));
    }
  });
}

}  // namespace facet
