// Events from any thread to one coroutine.
#pragma once

#include <chrono>
#include <mutex>
#include <vector>

#include "server/asio.h"

namespace facet::server {

/// push() from anywhere; take() in a coroutine of the I/O thread. Outlives both: hold it by shared_ptr, and
/// let the io_context outlive it.
template <class Event>
class Mailbox : public std::enable_shared_from_this<Mailbox<Event>> {
 public:
  explicit Mailbox(net::io_context& io) : io_(io), wake_(io) {}

  void push(Event event) {
    const std::lock_guard lock(mutex_);
    events_.push_back(std::move(event));
    if (events_.size() > 1) return;  // a wake-up is on its way
    net::post(io_, [self = this->shared_from_this()] { self->wake_.cancel(); });
  }

  /// Everything pushed since the last call; waits for the first, and returns nothing after `patience`.
  net::awaitable<std::vector<Event>> take(std::chrono::milliseconds patience) {
    std::vector<Event> taken = take_all();
    if (taken.empty()) {
      // push() wakes through the I/O thread, which is here: nothing can come between the look and the wait.
      wake_.expires_after(patience);
      error_code ignored;
      co_await wake_.async_wait(net::redirect_error(net::use_awaitable, ignored));
      taken = take_all();
    }
    co_return taken;
  }

 private:
  std::vector<Event> take_all() {
    const std::lock_guard lock(mutex_);
    return std::exchange(events_, {});
  }

  net::io_context& io_;
  net::steady_timer wake_;  // the I/O thread alone
  std::mutex mutex_;
  std::vector<Event> events_;
};

}  // namespace facet::server
