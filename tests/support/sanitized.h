// What a build can afford.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>

namespace facet::testing {

/// Whether every access is checked, which makes the engine ten to forty times slower, and FACET_TEST_ALL is
/// not set: `make asan` sets it, ./test.sh does not. DESIGN.md says what is left out then; the release build
/// runs it.
inline bool sanitized() {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  static const bool brief = std::getenv("FACET_TEST_ALL") == nullptr;
  return brief;
#else
  return false;
#endif
}

}  // namespace facet::testing

/// Leaves the rest of a test to the release build.
#define FACET_SKIP_IF_SANITIZED()    \
  if (::facet::testing::sanitized()) \
  GTEST_SKIP() << "takes minutes under sanitizers: the release build runs it, and `make asan`"
