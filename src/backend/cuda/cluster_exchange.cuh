// How blocks pass each other small vectors without a grid-wide barrier.
//
// Within a cluster: every block writes its slice straight into the others' shared memory, and the hardware
// counts the bytes in at a barrier there (st.async), so that data and signal are one trip.
//
// Between clusters, the L2 cache adds up. A value is an integer of 60 bits, in units of 2⁻³², and so the sum
// does not depend on who comes first. The four bits below count who has added to it: whoever reads knows from
// the data itself whether all have. Nothing is cleared or flushed: a cluster adds the difference to what it
// added the last time, and its 1 of the count comes and goes by turns. (Units of 2⁻³² are fine enough because
// the sums are normed, with an epsilon that is far larger; magnitudes up to 2²⁷ fit.)
//
// What one cluster tells others: every eight bytes in global memory are a value and the number of the
// exchange it belongs to.
//
// What a block may overwrite follows from what it has received: a block sends only what it has read its
// sources for, and waits for its own sends as for the others'. compute-sanitizer's racecheck does not know
// bytes counted at a barrier as an order, and reports those places (and the tape's); memcheck is clean.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "backend/cuda/persistent_step.h"
#include "backend/cuda/tensor_core.cuh"

namespace facet::cuda {

// --- barriers in shared memory (mbarrier) -----------------------------------------------------------------

__device__ inline void barrier_init(uint64_t* barrier, int arrivals) {
  asm volatile("mbarrier.init.shared.b64 [%0], %1;" ::"r"(shared_address(barrier)), "r"(arrivals) : "memory");
}
/// Makes initialised barriers known to the cluster and to bulk copies.
__device__ inline void publish_barriers() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}
__device__ inline void barrier_arrive(uint64_t* barrier) {
  asm volatile("mbarrier.arrive.shared.b64 _, [%0];" ::"r"(shared_address(barrier)) : "memory");
}
/// Arrives, and lets the phase end only when `bytes` have been written that count at the barrier.
__device__ inline void barrier_expect(uint64_t* barrier, int bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared.b64 _, [%0], %1;" ::"r"(shared_address(barrier)), "r"(bytes)
               : "memory");
}
/// Until phase `parity` (0 for the first) has ended.
__device__ inline void barrier_wait(uint64_t* barrier, int parity) {
  asm volatile(
      "{\n"
      ".reg .pred done;\n"
      "again:\n"
      "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
      "@!done bra again;\n"
      "}\n" ::"r"(shared_address(barrier)),
      "r"(parity)
      : "memory");
}

/// Copies `bytes`, a multiple of 16, to shared memory, and counts them at `barrier`.
__device__ inline void copy_bulk(void* to, const void* from, uint32_t bytes, uint64_t* barrier) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(
          shared_address(to)),
      "l"(from), "r"(bytes), "r"(shared_address(barrier))
      : "memory");
}

// --- clusters ---------------------------------------------------------------------------------------------

__device__ inline int cluster_rank() {
  uint32_t rank = 0;
  asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return static_cast<int>(rank);
}
__device__ inline int cluster_index() {
  uint32_t index = 0;
  asm("mov.u32 %0, %%clusterid.x;" : "=r"(index));
  return static_cast<int>(index);
}
/// All threads of all blocks of the cluster.
__device__ inline void cluster_barrier() {
  asm volatile("barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;" ::: "memory");
}

/// The address, within the cluster, of what lies at `local` in the block of that rank.
__device__ inline uint32_t address_in(const void* local, int rank) {
  uint32_t address = 0;
  asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(address) : "r"(shared_address(local)), "r"(rank));
  return address;
}

/// Writes 16 bytes to where `to` lies in block `rank`, and counts them at `barrier` there.
__device__ inline void send(const float4& v, const void* to, const uint64_t* barrier, int rank) {
  asm volatile(
      "st.async.shared::cluster.mbarrier::complete_tx::bytes.v4.f32 [%0], {%1, %2, %3, %4}, [%5];" ::"r"(
          address_in(to, rank)),
      "f"(v.x), "f"(v.y), "f"(v.z), "f"(v.w), "r"(address_in(barrier, rank))
      : "memory");
}
__device__ inline void send(float v, const void* to, const uint64_t* barrier, int rank) {
  asm volatile(
      "st.async.shared::cluster.mbarrier::complete_tx::bytes.f32 [%0], %1, [%2];" ::"r"(address_in(to, rank)),
      "f"(v), "r"(address_in(barrier, rank))
      : "memory");
}
__device__ inline void send(const float2& v, const void* to, const uint64_t* barrier, int rank) {
  asm volatile("st.async.shared::cluster.mbarrier::complete_tx::bytes.v2.f32 [%0], {%1, %2}, [%3];" ::"r"(
                   address_in(to, rank)),
               "f"(v.x), "f"(v.y), "r"(address_in(barrier, rank))
               : "memory");
}

// --- global memory ----------------------------------------------------------------------------------------

/// Each half is one access of eight bytes, so a value never comes without its tag.
__device__ inline void store_tagged(TaggedPair* to, float first, float second, uint32_t tag) {
  const uint64_t high = uint64_t{tag} << 32;
  asm volatile("st.relaxed.gpu.global.v2.b64 [%0], {%1, %2};" ::"l"(to), "l"(high | __float_as_uint(first)),
               "l"(high | __float_as_uint(second))
               : "memory");
}
__device__ inline TaggedPair load_tagged(const TaggedPair* from) {
  uint64_t first = 0;
  uint64_t second = 0;
  asm volatile("ld.relaxed.gpu.global.v2.b64 {%0, %1}, [%2];"
               : "=l"(first), "=l"(second)
               : "l"(from)
               : "memory");
  return {__uint_as_float(static_cast<uint32_t>(first)), static_cast<uint32_t>(first >> 32),
          __uint_as_float(static_cast<uint32_t>(second)), static_cast<uint32_t>(second >> 32)};
}

/// Adds to a sum in the L2 cache, sooner or later.
__device__ inline void add_later(uint64_t* to, uint64_t value) {
  asm volatile("red.relaxed.gpu.global.add.u64 [%0], %1;" ::"l"(to), "l"(value) : "memory");
}
__device__ inline ulonglong2 load_sums(const uint64_t* from) {
  ulonglong2 sums;
  asm volatile("ld.relaxed.gpu.global.v2.b64 {%0, %1}, [%2];"
               : "=l"(sums.x), "=l"(sums.y)
               : "l"(from)
               : "memory");
  return sums;
}

constexpr int kArrivalBits = 4;
static_assert(kPersistentClusters < 1 << kArrivalBits);
constexpr float kFixedUnits = 4294967296.0F;

__device__ inline uint64_t fixed_word(float v, uint32_t arrived) {
  return static_cast<uint64_t>(__float2ll_rn(v * kFixedUnits)) << kArrivalBits | arrived;
}
__device__ inline uint32_t arrivals(uint64_t word) {
  return static_cast<uint32_t>(word) & ((1U << kArrivalBits) - 1);
}
__device__ inline float fixed_value(uint64_t word) {
  return __ll2float_rn(static_cast<int64_t>(word) >> kArrivalBits) * (1.0F / kFixedUnits);
}

}  // namespace facet::cuda
