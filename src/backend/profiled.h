// A backend that times another's operations, one by one.
#pragma once

#include <memory>

#include "backend/backend.h"

namespace facet {

/// Forwards every call to `backend` and adds up its wall time in `profile`, which must outlive the result.
/// Meaningful for backends whose calls return when the work is done.
[[nodiscard]] std::unique_ptr<Backend> make_profiled(std::unique_ptr<Backend> backend, Profile& profile);

}  // namespace facet
