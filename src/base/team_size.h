// How many threads a pool puts to work while others want the cores too.
#pragma once

#include <chrono>

namespace facet {

/// Follows what a team's caller reports about its regions. A thread whose core is busy with something else is
/// absent for a scheduler's time slice, and everyone waits at the next barrier: on two cores of which one was
/// taken, two threads ran a small model 25 times slower than one. So a team in which the caller waits for
/// longer than it would work alone is made smaller, and tried at the next size up after a while: after 20 ms
/// of work at first, twice that each time the trial fails, so that trials cost next to nothing in the end.
class TeamSize {
 public:
  using Time = std::chrono::nanoseconds;

  /// Judges over `window` of work at a time.
  explicit TeamSize(int most, Time window = std::chrono::milliseconds{4}) noexcept
      : most_(most), size_(most), window_(window) {}

  [[nodiscard]] int get() const noexcept { return size_; }

  /// A region of this size lasted `elapsed`, for `waited` of which its caller had nothing to do but wait.
  void record(Time elapsed, Time waited) noexcept {
    elapsed_ += elapsed;
    waited_ += waited;
    if (elapsed_ < window_) return;
    if (crowded())
      shrink();
    else if ((calm_ += elapsed_) >= hold_)
      size_ < most_ ? grow() : settle();
    elapsed_ = waited_ = Time{0};
  }

  /// A region whose work was taken in units lasted `elapsed`; the caller alone would have needed `alone`.
  /// Counted as if it had waited for all but its even share of that.
  void record_units(Time elapsed, Time alone) noexcept { record(elapsed, elapsed - alone / size_); }

 private:
  static constexpr Time kShortestHold = std::chrono::milliseconds{20};
  static constexpr Time kLongestHold = std::chrono::milliseconds{640};

  /// n threads are worth more than n − 1 while the caller waits less than 1/n of the time; a tenth is the
  /// benefit of the doubt.
  [[nodiscard]] bool crowded() const noexcept {
    return size_ > 1 && static_cast<double>(waited_.count()) >
                            (1 - 0.9 * (size_ - 1) / size_) * static_cast<double>(elapsed_.count());
  }
  [[nodiscard]] int step() const noexcept { return size_ < 16 ? 1 : size_ / 8; }
  void shrink() noexcept {
    size_ -= step();
    calm_ = Time{0};
    hold_ = hold_ * 2 < kLongestHold ? hold_ * 2 : kLongestHold;
  }
  void grow() noexcept {
    size_ = size_ + step() < most_ ? size_ + step() : most_;
    calm_ = Time{0};
  }
  /// Calm at full size for as long as the last hold: the next crowd is a new one.
  void settle() noexcept {
    calm_ = Time{0};
    hold_ = hold_ / 2 > kShortestHold ? hold_ / 2 : kShortestHold;
  }

  int most_;
  int size_;
  Time window_;
  Time elapsed_{0}, waited_{0};  // of the window so far
  Time calm_{0};                 // since the size was last changed
  Time hold_{kShortestHold / 2};
};

}  // namespace facet
