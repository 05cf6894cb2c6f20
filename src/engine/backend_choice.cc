#include "engine/backend_choice.h"

#include <fmt/format.h>

#include "backend/cpu/cpu_backend.h"
#ifdef FACET_CUDA
#include "backend/cuda/cuda_backend.h"
#endif
#include "backend/reference/reference.h"
#include "base/error.h"
#include "engine/engine.h"

namespace facet {
namespace {

double gib(int64_t bytes) noexcept {
  return static_cast<double>(bytes) / (1 << 30);
}

std::unique_ptr<Backend> make_cuda(const EngineOptions& options) {
#ifdef FACET_CUDA
  return std::make_unique<CudaBackend>(options.per_layer_table);
#else
  static_cast<void>(options);
  throw Error(ErrorCode::kDevice,
              "backend 'cuda' is not part of this build: `make cuda` makes one that has it");
#endif
}

}  // namespace

void check_fits(const GpuMemoryNeed& need, const Gpu& gpu) {
  const auto free = static_cast<int64_t>(gpu.free_memory);
  if (need.total() <= free) return;
  throw Error(
      ErrorCode::kDevice,
      fmt::format("cuda: the model takes {:.2f} GiB of the GPU's memory (weights {:.2f}, cache {:.2f}, "
                  "working memory {:.2f}), {:.2f} of {:.2f} GiB are free: a smaller --ctx or --kv q8 "
                  "takes less",
                  gib(need.total()), gib(need.weights), gib(need.cache), gib(need.working), gib(free),
                  gib(static_cast<int64_t>(gpu.memory))));
}

BackendChoice choose_backend(const GpuSearch& search, const std::function<GpuMemoryNeed()>& plan) {
  if (!search.gpu) return {"cpu", search.present ? search.problem : ""};
  try {
    check_fits(plan(), *search.gpu);
    return {"cuda", ""};
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kDevice) throw;
    return {"cpu", error.what()};
  }
}

std::unique_ptr<Backend> make_backend(const EngineOptions& options) {
  if (options.backend == "reference") return std::make_unique<ReferenceBackend>();
  if (options.backend == "auto" || options.backend == "cpu")
    return std::make_unique<CpuBackend>(CpuOptions{options.threads, options.isa});
  if (options.backend == "cuda") return make_cuda(options);
  throw Error(ErrorCode::kUsage,
              fmt::format("backend: expected auto, reference, cpu or cuda, got '{}'", options.backend));
}

std::unique_ptr<Backend> make_backend(const Checkpoint& checkpoint, const EngineOptions& options) {
  const auto plan = [&] { return plan_gpu_memory(checkpoint, options); };
  // Who names an instruction set means the CPU.
  if (options.backend == "auto" && options.isa.empty()) {
    const BackendChoice choice = choose_backend(find_gpu(), plan);
    if (!choice.passed_over.empty() && options.notice) options.notice(choice.passed_over + "; using the CPU");
    return choice.name == "cuda" ? make_cuda(options) : make_backend(options);
  }
  if (options.backend == "cuda")
    if (const GpuSearch search = find_gpu(); search.gpu) check_fits(plan(), *search.gpu);
  return make_backend(options);
}

}  // namespace facet
