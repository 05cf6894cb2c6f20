// Texts that a model writes itself: what it was made for, where nobody gave an example.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <vector>

#include "formats/checkpoint.h"

namespace facet {

struct SelfTextOptions {
  std::vector<int32_t> prefix;               ///< starts every text and is not part of it: <bos>; not empty
  std::vector<std::vector<int32_t>> starts;  ///< texts begin with them in turn; empty: with nothing
  std::vector<int32_t> never;                ///< ids that are not drawn: <eos>
  int texts = 32;                            ///< written side by side
  int length = 256;                          ///< tokens a text, its start included; longer than any start
  int threads = 0;                           ///< 0: one a usable core
  std::function<void(int64_t done, int64_t total)> progress;  ///< tokens
  const std::atomic<bool>* cancel = nullptr;
};

/// Draws texts from the model's own distribution, at temperature 1 and with seeds of their own, the same ones
/// every time. Returns them one after the other: [texts · length]. `length` is cut to what the model's
/// context holds after the prefix. Throws as Engine does, Error{kInterrupted} when cancelled.
[[nodiscard]] std::vector<int32_t> write_own_texts(Checkpoint model, const SelfTextOptions& options);

}  // namespace facet
