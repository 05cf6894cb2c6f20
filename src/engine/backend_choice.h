// Which backend an engine gets: what `--backend auto` amounts to.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "backend/backend.h"
#include "engine/gpu.h"

namespace facet {

struct BackendChoice {
  std::string name;         ///< cpu or cuda
  std::string passed_over;  ///< why a GPU that is there is not used; empty: it is, or there is none
};

/// The GPU if there is one to use whose free memory holds what `plan` says, else the CPU. `plan` is asked
/// only where there is a usable GPU; an Error{kDevice} of its is a reason, others are passed on.
[[nodiscard]] BackendChoice choose_backend(const GpuSearch& search,
                                           const std::function<GpuMemoryNeed()>& plan);

/// Throws Error{kDevice} with the parts of the sum when `need` is more than the GPU has free.
void check_fits(const GpuMemoryNeed& need, const Gpu& gpu);

/// Makes a backend by name. Throws Error{kUsage} for an unknown one, Error{kDevice} for one this build or
/// machine does not have. `auto` is the CPU here: the choice takes a model.
[[nodiscard]] std::unique_ptr<Backend> make_backend(const EngineOptions& options);

/// Makes the backend that `options` name, or that suits this machine and `checkpoint` when they say `auto`;
/// options.notice hears why a GPU is passed over. Throws as make_backend, and Error{kDevice} when a backend
/// asked for by name has not enough memory for the model.
[[nodiscard]] std::unique_ptr<Backend> make_backend(const Checkpoint& checkpoint,
                                                    const EngineOptions& options);

}  // namespace facet
