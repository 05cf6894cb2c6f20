#include "backend/cuda/step_graphs.h"

namespace facet::cuda {

void StepGraphs::clear() noexcept {
  for (auto& [key, entry] : entries_)
    if (entry.graph != nullptr) (void)cudaGraphExecDestroy(entry.graph);
  entries_.clear();
}

bool StepGraphs::replay(int64_t key) noexcept {
  Entry& entry = entries_[key];
  if (entry.graph != nullptr) {
    (void)cudaGraphLaunch(entry.graph, stream_);
    return true;
  }
  if (entry.seen++ == 1 && cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal) == cudaSuccess)
    recording_ = &entry;
  return false;
}

void StepGraphs::end() noexcept {
  if (recording_ == nullptr) return;
  Entry& entry = *recording_;
  recording_ = nullptr;
  // An error stays the runtime's last one, which the next download reports.
  cudaGraph_t graph = nullptr;
  if (cudaStreamEndCapture(stream_, &graph) != cudaSuccess) return;
  if (cudaGraphInstantiate(&entry.graph, graph, 0) == cudaSuccess)
    (void)cudaGraphLaunch(entry.graph, stream_);
  else
    entry.graph = nullptr;
  (void)cudaGraphDestroy(graph);
}

}  // namespace facet::cuda
