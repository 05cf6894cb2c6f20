// Many requests on one engine: continuous batching.
#pragma once

#include <array>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "engine/engine.h"
#include "engine/logprobs.h"
#include "engine/metrics.h"
#include "engine/prefix_cache.h"
#include "engine/sampler.h"
#include "engine/token_mask.h"

namespace facet {

/// A token as it was drawn.
struct DrawnToken {
  int32_t id = 0;
  std::optional<TokenLogprobs> logprobs;  ///< when the request asked for them
};

enum class FinishReason : uint8_t {
  kLength,     ///< max_tokens, or the context is full
  kStopId,     ///< one of the stop ids was drawn
  kStopped,    ///< the sink wanted no more
  kCancelled,  ///< cancel(), or the scheduler was stopped
  kDeadline,   ///< the request's time ran out
  kError       ///< the model failed on it
};

struct Finish {
  FinishReason reason = FinishReason::kLength;
  std::string error;     ///< kError: what went wrong
  int32_t stop_id = -1;  ///< kStopId: which
  int prompt_tokens = 0;
  int cached_tokens = 0;     ///< of the prompt, taken from the prefix cache
  int generated_tokens = 0;  ///< a stop id included
  double prompt_ms = 0;      ///< from the request's admission to its first token
  double generated_ms = 0;   ///< from the first token to the last
};

/// Where a request's tokens go. Called on the scheduler's thread, which all requests share: return soon, and
/// do not throw. on_finish() comes last, once, whatever happens; then the sink is destroyed.
class TokenSink {
 public:
  TokenSink() = default;
  virtual ~TokenSink() = default;
  TokenSink(const TokenSink&) = delete;
  TokenSink& operator=(const TokenSink&) = delete;
  /// A drawn token, a stop id excepted; false ends the request with kStopped.
  virtual bool on_token(const DrawnToken& token) = 0;
  virtual void on_finish(const Finish& finish) = 0;
};

struct Request {
  std::vector<int32_t> prompt;  ///< 1 to Engine::context() ids of the vocabulary
  SamplingParams sampling;
  std::vector<int> stop_ids;
  int max_tokens = 0;     ///< 0: until the context is full
  int top_logprobs = -1;  ///< −1: no log probabilities; else those of the drawn token and this many likeliest
  std::unique_ptr<TokenMask> mask;  ///< what may be drawn; null: anything
  std::optional<std::chrono::steady_clock::time_point> deadline;
  std::unique_ptr<TokenSink> sink;
};

struct SchedulerOptions {
  int queue = 256;         ///< most requests that wait for a sequence
  int prefill_rows = 256;  ///< most prompt tokens of a step in which others generate: bounds their delay
  bool reuse_prefixes = true;
};

/// What the scheduler is doing, for metrics.
struct SchedulerState {
  int running = 0;
  int waiting = 0;
  int kv_pages = 0;       ///< of the full layers' pool, in all
  int kv_pages_used = 0;  ///< held by sequences or the prefix cache
  int cached_blocks = 0;  ///< in the prefix cache
};

/// Runs requests on an engine in a thread of its own. Each step takes one token of every request that
/// generates and fills the rest of the engine's rows with prompt tokens, shared evenly between the prompts:
/// short ones finish early, long ones share what is left. Requests are admitted in order as sequences get
/// free, except that one whose prompt begins like one that is being read waits for it, to take up what it
/// stores.
///
/// What a request draws depends on its prompt, parameters and seed alone, as long as the backend's rows do
/// not depend on the step they are in.
class Scheduler {
 public:
  /// `engine` must outlive this and is the scheduler's alone from now on.
  Scheduler(Engine& engine, const SchedulerOptions& options);
  ~Scheduler();  ///< as stop()
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  /// Takes a request in, and numbers it. Nothing when the queue is full or drain() was called; the sink is
  /// then destroyed without a call. Throws Error{kBadInput} for a prompt that is empty, does not fit the
  /// context or has an id outside the vocabulary; Error{kUsage} for sampling parameters out of range.
  [[nodiscard]] std::optional<uint64_t> submit(Request request);
  /// Ends a request with kCancelled soon; nothing happens when it has finished.
  void cancel(uint64_t id);
  /// The same for all there are.
  void cancel_all();

  /// Lets no more requests in and waits until those there are have finished, at most until `deadline`; true
  /// when they have.
  bool drain(std::chrono::steady_clock::time_point deadline);
  /// Lets no more requests in.
  void close();
  /// Lets no more requests in, cancels those there are and ends the thread: no sink is left afterwards.
  void stop();

  [[nodiscard]] SchedulerState state() const;
  [[nodiscard]] const ServingMetrics& metrics() const noexcept { return metrics_; }
  [[nodiscard]] int queue_limit() const noexcept { return options_.queue; }

 private:
  using Clock = std::chrono::steady_clock;
  struct Running;

  void run();
  struct Cancelled {
    std::vector<uint64_t> ids;
    bool all = false;
  };
  bool wait_for_work(Cancelled& cancelled);
  void end_cancelled(const Cancelled& cancelled);
  void end_overdue();
  void admit();
  [[nodiscard]] bool should_wait(const Request& request) const;
  void start(std::unique_ptr<Running> request);
  void step();
  void plan_prompts(int rows);
  [[nodiscard]] std::span<const int32_t> reusable(const Running& r) const;
  void take_outputs();
  void draw(Running& request, std::span<const float> logits);
  void finish(Running& request, FinishReason reason, const std::string& error = {});
  void remove_finished();
  void publish_state();

  Engine& engine_;
  SchedulerOptions options_;
  PrefixCache prefixes_;
  ServingMetrics metrics_;

  // The scheduler's thread alone.
  std::vector<std::unique_ptr<Running>> running_;  // in the order of admission
  std::vector<SequenceTokens> parts_;              // the step being built
  std::vector<Running*> stepped_;                  // whose each part is
  std::vector<Running*> prompts_;                  // that are being read
  std::vector<float> masked_;                      // [vocab]

  mutable std::mutex mutex_;
  std::condition_variable work_;  // something to do
  std::condition_variable idle_;  // nothing left to do
  std::deque<std::unique_ptr<Running>> waiting_;
  Cancelled cancelled_;
  SchedulerState state_;
  uint64_t next_id_ = 1;
  bool closed_ = false;
  bool stopping_ = false;

  std::thread thread_;
};

}  // namespace facet
