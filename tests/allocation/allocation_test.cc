// Nothing is allocated per token once the engine is warm. A program of its own: it replaces operator new.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <new>

#include "engine/generate.h"
#include "support/tiny_model.h"

namespace {

std::atomic<int64_t> g_allocations{0};

void* counted(std::size_t size, std::size_t alignment) noexcept {
  g_allocations.fetch_add(1, std::memory_order_relaxed);
  if (alignment <= alignof(std::max_align_t)) return std::malloc(size == 0 ? 1 : size);
  return std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
}

void* counted_or_throw(std::size_t size, std::size_t alignment) {
  void* memory = counted(size, alignment);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

}  // namespace

void* operator new(std::size_t size) {
  return counted_or_throw(size, 1);
}
void* operator new[](std::size_t size) {
  return counted_or_throw(size, 1);
}
void* operator new(std::size_t size, std::align_val_t alignment) {
  return counted_or_throw(size, static_cast<std::size_t>(alignment));
}
void* operator new[](std::size_t size, std::align_val_t alignment) {
  return counted_or_throw(size, static_cast<std::size_t>(alignment));
}
void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  return counted(size, 1);
}
void* operator new[](std::size_t size, const std::nothrow_t&) noexcept {
  return counted(size, 1);
}
void* operator new(std::size_t size, std::align_val_t alignment, const std::nothrow_t&) noexcept {
  return counted(size, static_cast<std::size_t>(alignment));
}
void* operator new[](std::size_t size, std::align_val_t alignment, const std::nothrow_t&) noexcept {
  return counted(size, static_cast<std::size_t>(alignment));
}
void operator delete(void* p) noexcept {
  std::free(p);
}
void operator delete[](void* p) noexcept {
  std::free(p);
}
void operator delete(void* p, std::size_t) noexcept {
  std::free(p);
}
void operator delete[](void* p, std::size_t) noexcept {
  std::free(p);
}
void operator delete(void* p, std::align_val_t) noexcept {
  std::free(p);
}
void operator delete(void* p, std::size_t, std::align_val_t) noexcept {
  std::free(p);
}

namespace facet {
namespace {

/// Allocations between the fourth and the last token of an answer.
int64_t allocations_per_answer(const std::string& backend, float temperature) {
  EngineOptions options;
  options.backend = backend;
  options.chunk = 16;
  Engine engine(testing::tiny_checkpoint({.layers = 10, .shared = 5, .context = 256}), options);
  GenerateOptions generate_options;
  generate_options.sampling.temperature = temperature;
  generate_options.max_tokens = 100;
  int64_t warm = 0;
  int64_t last = 0;
  int tokens = 0;
  generate_options.on_token = [&](int32_t) {
    last = g_allocations.load(std::memory_order_relaxed);
    if (++tokens == 4) warm = last;
    return true;
  };
  const std::vector<int32_t> prompt = {2, 3, 4};
  (void)generate(engine, engine.cache().open(), prompt, generate_options);
  EXPECT_EQ(tokens, 100);
  return last - warm;
}

/// Allocations of steps of 12 sequences on two threads, from the fourth on.
int64_t allocations_of_batches() {
  constexpr int kSequences = 12;
  EngineOptions options;
  options.backend = "cpu";
  options.threads = 2;
  options.sequences = kSequences;
  Engine engine(testing::tiny_checkpoint({.layers = 10, .shared = 5, .context = 256}), options);
  const std::vector<int32_t> token = {3};
  std::vector<SequenceTokens> parts;
  for (int i = 0; i < kSequences; ++i) parts.push_back({engine.cache().open(), token, Want::kLast});
  int64_t warm = 0;
  for (int i = 0; i < 100; ++i) {
    if (i == 4) warm = g_allocations.load(std::memory_order_relaxed);
    engine.step(parts);
    (void)engine.logits(0, kSequences);
  }
  return g_allocations.load(std::memory_order_relaxed) - warm;
}

TEST(Allocation, TheCounterCounts) {
  const int64_t before = g_allocations.load();
  ::operator delete(::operator new(1));  // called by name: a new expression may be optimised away
  EXPECT_GT(g_allocations.load(), before);
}

TEST(Allocation, NoneAToken) {
  EXPECT_EQ(allocations_per_answer("reference", 0), 0);
  EXPECT_EQ(allocations_per_answer("reference", 1), 0);
  EXPECT_EQ(allocations_per_answer("cpu", 0), 0);
  EXPECT_EQ(allocations_of_batches(), 0);
}

}  // namespace
}  // namespace facet
