// A block's weights and keys in the order in which it needs them, streamed through shared memory: one thread
// issues bulk copies as far ahead as the ring has room, across products, layers and every wait of the warps
// that multiply.
#pragma once

#include "backend/cuda/cluster_exchange.cuh"

namespace facet::cuda {

/// What a chunk takes of the ring.
__device__ inline uint32_t chunk_size(uint32_t bytes) {
  return (bytes + 127) / 128 * 128;
}

/// Chunks on their way or in use at once; more than any product has, as its warps may be that far apart.
constexpr int kTapeSlots = 32;

/// The ring's bookkeeping in shared memory.
struct TapeSlots {
  uint64_t full[kTapeSlots];   // the chunk has come
  uint64_t empty[kTapeSlots];  // every reader is done with it
  uint32_t end[kTapeSlots];    // the writer's: bytes up to its end since the beginning

  __device__ void init(int readers) {
    for (int i = 0; i < kTapeSlots; ++i) {
      barrier_init(&full[i], 1);
      barrier_init(&empty[i], readers);
    }
  }
};

/// The issuing side: one thread.
class TapeWriter {
 public:
  __device__ TapeWriter(TapeSlots& slots, std::byte* ring, uint32_t bytes)
      : slots_(slots), ring_(ring), capacity_(bytes) {}

  /// Appends a chunk of `bytes`, a multiple of 16: room for it, and a barrier that waits for them.
  __device__ void begin(uint32_t bytes) {
    const uint32_t size = chunk_size(bytes);
    if (at_ + size > capacity_) {  // a chunk lies in one piece
      head_ += capacity_ - at_;
      at_ = 0;
    }
    while (next_ - oldest_ >= kTapeSlots || head_ + size - tail_ > capacity_) {
      if (next_ == oldest_) {  // all that is left in the way is a gap before the ring's end
        tail_ = head_;
        break;
      }
      retire();
    }
    const auto slot = static_cast<int>(next_ % kTapeSlots);
    head_ += size;
    slots_.end[slot] = head_;
    barrier_expect(&slots_.full[slot], static_cast<int>(bytes));
    full_ = &slots_.full[slot];
    to_ = ring_ + at_;
    at_ += size;
    ++next_;
  }
  /// Copies the chunk's next bytes, a multiple of 16.
  __device__ void copy(const void* from, uint32_t bytes) {
    copy_bulk(to_, from, bytes, full_);
    to_ += bytes;
  }

 private:
  __device__ void retire() {
    const auto slot = static_cast<int>(oldest_ % kTapeSlots);
    barrier_wait(&slots_.empty[slot], static_cast<int>(oldest_ / kTapeSlots % 2));
    tail_ = slots_.end[slot];
    ++oldest_;
  }

  TapeSlots& slots_;
  std::byte* ring_;
  uint32_t capacity_;
  // Bytes since the beginning, the gaps before the ring's end included; chunks since the beginning.
  uint32_t head_ = 0, tail_ = 0;
  uint32_t at_ = 0;  // head_ in the ring, or its end
  uint32_t next_ = 0, oldest_ = 0;
  uint64_t* full_ = nullptr;  // the last chunk's
  std::byte* to_ = nullptr;   // where its next bytes go
};

/// The multiplying side: one for each warp, and each reads or skips every chunk. It knows a chunk's size as
/// the writer does, and from that where it lies: to look that up would cost a trip to shared memory a chunk.
class TapeReader {
 public:
  __device__ TapeReader(TapeSlots& slots, const std::byte* ring, uint32_t bytes)
      : slots_(slots), ring_(ring), capacity_(bytes) {}

  /// Waits for the next chunk, of `bytes`.
  [[nodiscard]] __device__ const std::byte* wait(uint32_t bytes) const {
    const auto slot = static_cast<int>(next_ % kTapeSlots);
    barrier_wait(&slots_.full[slot], static_cast<int>(next_ / kTapeSlots % 2));
    return ring_ + place(bytes);
  }
  /// Is done with it. All lanes.
  __device__ void pass(int lane, uint32_t bytes) {
    __syncwarp();
    if (lane == 0) barrier_arrive(&slots_.empty[next_ % kTapeSlots]);
    ++next_;
    at_ = place(bytes) + chunk_size(bytes);
  }

 private:
  /// A chunk lies in one piece.
  [[nodiscard]] __device__ uint32_t place(uint32_t bytes) const {
    return at_ + chunk_size(bytes) > capacity_ ? 0 : at_;
  }

  TapeSlots& slots_;
  const std::byte* ring_;
  uint32_t capacity_;
  uint32_t next_ = 0;
  uint32_t at_ = 0;
};

}  // namespace facet::cuda
