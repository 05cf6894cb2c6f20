// Which build this is.
#pragma once

#include <string_view>

namespace facet {

/// Version and commit: "0.1.0+1a2b3c4d5e", "-dirty" behind it when the tree had changes.
[[nodiscard]] std::string_view build_id() noexcept;

}  // namespace facet
