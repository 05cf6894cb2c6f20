// Ctrl-C as a request to stop.
#pragma once

#include <atomic>

namespace facet::cli {

/// While alive, SIGINT and SIGTERM set requested() instead of ending the process; a second SIGINT before
/// anybody looked ends it with code 130. One at a time.
class InterruptGuard {
 public:
  InterruptGuard();
  ~InterruptGuard();
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;

  [[nodiscard]] static const std::atomic<bool>& requested() noexcept;
  /// Forgets an earlier request.
  static void reset() noexcept;
};

}  // namespace facet::cli
