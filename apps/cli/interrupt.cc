#include "cli/interrupt.h"

#include <unistd.h>

#include <csignal>

#include "base/error.h"

namespace facet::cli {
namespace {

std::atomic<bool> g_requested{false};
static_assert(std::atomic<bool>::is_always_lock_free, "used in a signal handler");

void on_signal(int /*signal*/) {
  if (g_requested.exchange(true)) ::_exit(static_cast<int>(ErrorCode::kInterrupted));
}

void set_handler(void (*handler)(int)) {
  struct sigaction action = {};
  action.sa_handler = handler;
  ::sigaction(SIGINT, &action, nullptr);
  ::sigaction(SIGTERM, &action, nullptr);
}

}  // namespace

InterruptGuard::InterruptGuard() {
  reset();
  set_handler(on_signal);
}

InterruptGuard::~InterruptGuard() {
  set_handler(SIG_DFL);
}

const std::atomic<bool>& InterruptGuard::requested() noexcept {
  return g_requested;
}
void InterruptGuard::reset() noexcept {
  g_requested = false;
}

}  // namespace facet::cli
