// What a build can afford.
#pragma once

#include <gtest/gtest.h>

namespace facet::testing {

/// Whether every access is checked, which makes the engine ten to forty times slower. The release build runs
/// everything; DESIGN.md says what such a build leaves out.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

}  // namespace facet::testing

/// Leaves the rest of a test to the release build.
#define FACET_SKIP_IF_SANITIZED()   \
  if (::facet::testing::kSanitized) \
  GTEST_SKIP() << "takes minutes under sanitizers: the release build runs it"
