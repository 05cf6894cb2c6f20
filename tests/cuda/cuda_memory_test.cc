// Where weights lie and what they take: the per-layer table on the host and on the device, and the plan
// before anything is allocated.
#include <gtest/gtest.h>

#include <chrono>
#include <vector>

#include "cuda/two_backends.h"
#include "engine/backend_choice.h"
#include "engine/engine.h"
#include "engine/synthetic.h"
#include "support/errors.h"
#include "support/golden.h"
#include "support/paths.h"

namespace facet {
namespace {

using testing::Array;

class CudaMemory : public testing::CudaTest {};

TEST_F(CudaMemory, ATableGivesTheSameRowsFromTheHostAndFromTheDevice) {
  struct Case {
    Encoding encoding;
    int group;
  };
  // As stored and mapped; as stored, but with scales; blocks that are converted; blocks that are expanded.
  const Case cases[] = {{Encoding::kBF16, 64},
                        {Encoding::kAffine8, 64},
                        {Encoding::kAffine4, 32},
                        {Encoding::kQ8_0, 64},
                        {Encoding::kQ6_K, 64}};
  for (const Case& c : cases) {
    const testing::RandomMatrix matrix(c.encoding, 300, 512, c.group, DType::kBF16, 1);
    const std::vector<int32_t> ids = {0, 299, 17, 17, 128};
    const auto rows = [&](Residence residence) {
      CudaBackend backend(residence);
      const auto table = backend.load(matrix.view(), WeightUse::kPerLayerTable);
      Array<int32_t> chosen(backend, ids);
      Array<float> out(backend, static_cast<int64_t>(ids.size()) * 512);
      backend.gather(*table, chosen.data(), static_cast<int>(ids.size()), 512, 2.5F, out.data());
      return out.values();
    };
    EXPECT_EQ(rows(Residence::kHost), rows(Residence::kDevice)) << static_cast<int>(c.encoding);
  }
}

/// Logits after a prompt in chunks and some single tokens.
std::vector<float> logits_of(const std::string& model, Residence residence) {
  EngineOptions options;
  options.backend = "cuda";
  options.context = 512;
  options.per_layer_table = residence;
  Engine engine(open_checkpoint(model), options);
  const int sequence = engine.cache().open();
  std::vector<int32_t> prompt;
  for (int i = 0; i < 200; ++i) prompt.push_back(2 + i * 37 % (engine.spec().vocab_size - 2));
  engine.step({sequence, prompt, Want::kLast});
  std::vector<float> all(engine.logits(0).begin(), engine.logits(0).end());
  for (int i = 0; i < 4; ++i) {  // the third is a recorded step
    engine.step({sequence, std::span(prompt).subspan(static_cast<size_t>(i), 1), Want::kLast});
    const auto logits = engine.logits(0);
    all.insert(all.end(), logits.begin(), logits.end());
  }
  return all;
}

TEST_F(CudaMemory, APerLayerTableOnTheHostChangesNoBit) {
  const std::vector<std::string> models = {testing::load_golden("tiny-e2b").directory.string(),
                                           testing::load_golden("real-heads").directory.string(),
                                           (testing::models_dir() / "fable").string()};
  for (const std::string& model : models)
    EXPECT_EQ(logits_of(model, Residence::kHost), logits_of(model, Residence::kDevice)) << model;
}

size_t free_memory() {
  size_t free = 0;
  size_t total = 0;
  EXPECT_EQ(cudaMemGetInfo(&free, &total), cudaSuccess);
  return free;
}

TEST_F(CudaMemory, ThePlanIsWhatE2BTakes) {
  for (const Residence residence : {Residence::kHost, Residence::kDevice}) {
    EngineOptions options;
    options.backend = "cuda";
    options.context = 8192;
    options.sequences = 4;
    options.per_layer_table = residence;
    const auto start = std::chrono::steady_clock::now();
    const GpuMemoryNeed need = plan_gpu_memory(make_synthetic("e2b", SyntheticQuant::k4Bit), options);
    const std::chrono::duration<double, std::milli> planning = std::chrono::steady_clock::now() - start;
    const size_t before = free_memory();
    Engine engine(make_synthetic("e2b", SyntheticQuant::k4Bit), options);
    const auto loaded = static_cast<int64_t>(before - free_memory());
    const int sequence = engine.cache().open();
    for (int i = 0; i < 4; ++i) {
      engine.step({sequence, std::vector<int32_t>{1 + i}, Want::kLast});
      static_cast<void>(engine.logits(0));
    }
    const auto running = static_cast<int64_t>(before - free_memory());
    const std::string name = residence == Residence::kHost ? "host" : "device";
    RecordProperty(name + "_planning_ms", std::to_string(planning.count()));
    RecordProperty(name + "_weights_mib", std::to_string(need.weights >> 20));
    RecordProperty(name + "_cache_mib", std::to_string(need.cache >> 20));
    RecordProperty(name + "_working_mib", std::to_string(need.working >> 20));
    RecordProperty(name + "_loaded_mib", std::to_string(loaded >> 20));
    RecordProperty(name + "_running_mib", std::to_string(running >> 20));
    EXPECT_LE(running, need.total()) << name;
    EXPECT_GE(running, need.total() * 9 / 10) << name;
    EXPECT_EQ(engine.cache().bytes(), need.cache);
  }
}

TEST_F(CudaMemory, WhatDoesNotFitIsAnErrorBeforeAnythingIsAllocated) {
  EngineOptions options;
  options.backend = "cuda";
  options.context = 1 << 17;
  options.sequences = 512;
  const size_t before = free_memory();
  testing::expect_error([&] { return Engine(make_synthetic("e2b", SyntheticQuant::k4Bit), options); },
                        ErrorCode::kDevice, {"weights", "cache", "GiB are free", "--kv q8"});
  constexpr size_t kLibrary = size_t{64} << 20;  // what cuBLASLt may keep once it is loaded
  EXPECT_GE(free_memory() + kLibrary, before);

  std::string heard;
  options.backend = "auto";
  options.notice = [&](const std::string& line) { heard = line; };
  const Checkpoint checkpoint = make_synthetic("e2b", SyntheticQuant::k4Bit);
  EXPECT_EQ(make_backend(checkpoint, options)->name(), "cpu");
  EXPECT_NE(heard.find("using the CPU"), std::string::npos) << heard;
  options.sequences = 1;
  options.context = 1024;
  heard.clear();
  EXPECT_EQ(make_backend(checkpoint, options)->name(), "cuda");
  EXPECT_EQ(heard, "");
}

}  // namespace
}  // namespace facet
