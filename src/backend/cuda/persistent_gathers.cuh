// What the blocks of a cluster send each other in a persistent step, as the barriers that count it in are
// told.
#pragma once

#include "backend/cuda/cluster_exchange.cuh"
#include "backend/cuda/dependent_launch.cuh"
#include "backend/cuda/persistent_layout.cuh"

namespace facet::cuda::persistent {

/// Tells every gather's barrier how much its next phase will bring as soon as the last one has ended. One
/// thread that does nothing else, so that no worker is late for it.
template <int kRows, bool kInSpans>
__device__ void expect_gathers(const PersistentStep& step, Memory<kRows>& memory, const Portions& portions) {
  wait_for_previous();
  const LayerSpan span = span_of<kInSpans>(step);
  const BlockKeys<kRows> keys(step, span.begin, portions.rank);
  uint32_t begun = 0;
  uint32_t parities = 0;
  const auto expect = [&](Gather gather, int bytes) {
    if ((begun >> gather & 1) != 0) {
      barrier_wait(&memory.gathers[gather], static_cast<int>(parities >> gather & 1));
      parities ^= 1U << gather;
    }
    begun |= 1U << gather;
    barrier_expect(&memory.gathers[gather], bytes);
  };
#pragma unroll 1
  for (int l = span.begin; l < span.end - (span.ends_projected ? 1 : 0); ++l) {
    const PersistentLayer& layer = memory.layers[l];
    const int units = cluster_units(layer.ffn_dim, portions.helper());
    if (!portions.helper() && (!span.begins_attended || l > span.begin)) {
      expect(kQueries, (layer.owns_kv && keys.of(layer).newest ? 3 : 1) * layer.head_dim * 4);
      expect(kPartials, kBlocks * (layer.head_dim * 4 + 8));
    }
    expect(kMiddle, step.rows * 4 * units);
    if (portions.helper()) continue;
    expect(kPleMiddle, step.rows * 4 * Shape::kPleDim);
    expect(kSums, step.rows * 4 * kHidden);
  }
}

}  // namespace facet::cuda::persistent
