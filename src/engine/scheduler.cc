#include "engine/scheduler.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/error.h"

namespace facet {
namespace {

double seconds(std::chrono::steady_clock::duration duration) {
  return std::chrono::duration<double>(duration).count();
}

/// A shared beginning that is worth waiting for.
constexpr int kWorthWaiting = kPageTokens;

int common_prefix(const std::vector<int32_t>& a, const std::vector<int32_t>& b) {
  const auto length = static_cast<std::ptrdiff_t>(std::min(a.size(), b.size()));
  return static_cast<int>(std::mismatch(a.begin(), a.begin() + length, b.begin()).first - a.begin());
}

}  // namespace

/// A request from submit() on.
struct Scheduler::Running {
  uint64_t id = 0;
  Request request;
  Clock::time_point submitted;
  Clock::time_point admitted;
  Clock::time_point first_token;
  Clock::time_point last_token;
  int sequence = -1;
  std::optional<Sampler> sampler;
  std::vector<int32_t> tokens;  // the prompt and what was drawn
  int fed = 0;                  // of `tokens`, given to the engine
  int stored = 0;               // of `tokens`, given to the prefix cache, in whole blocks
  int max_tokens = 0;
  int output = -1;  // of the current step
  Finish result;
  bool finished = false;

  [[nodiscard]] int prompt_size() const noexcept { return static_cast<int>(request.prompt.size()); }
  [[nodiscard]] bool reads_prompt() const noexcept { return fed < prompt_size(); }
};

Scheduler::Scheduler(Engine& engine, const SchedulerOptions& options)
    : engine_(engine),
      options_(options),
      prefixes_(engine.cache(), options.reuse_prefixes ? engine.cache().options().shared_pages : 0) {
  state_.kv_pages = engine.cache().total_pages();
  thread_ = std::thread([this] { run(); });
}

Scheduler::~Scheduler() {
  stop();
}

void Scheduler::stop() {
  {
    const std::lock_guard lock(mutex_);
    closed_ = true;
    stopping_ = true;
  }
  work_.notify_one();
  if (thread_.joinable()) thread_.join();
}

std::optional<uint64_t> Scheduler::submit(Request request) {
  const int vocab = engine_.spec().vocab_size;
  validate(request.sampling, vocab);
  if (request.prompt.empty()) throw bad_input("the prompt is empty");
  if (request.prompt.size() > static_cast<size_t>(engine_.context()))
    throw bad_input(fmt::format("the prompt has {} tokens, the context holds {}", request.prompt.size(),
                                engine_.context()));
  for (const int32_t token : request.prompt)
    if (token < 0 || token >= vocab)
      throw bad_input(fmt::format("token id {}: expected 0 to {}", token, vocab - 1));

  auto running = std::make_unique<Running>();
  // One token more than there is room for can be drawn: the last one need not be stored.
  const int most = engine_.context() - static_cast<int>(request.prompt.size()) + 1;
  running->max_tokens = request.max_tokens > 0 ? std::min(request.max_tokens, most) : most;
  running->result.prompt_tokens = static_cast<int>(request.prompt.size());
  running->submitted = Clock::now();
  running->request = std::move(request);

  const std::lock_guard lock(mutex_);
  if (closed_ || waiting_.size() >= static_cast<size_t>(options_.queue)) return std::nullopt;
  running->id = next_id_++;
  const uint64_t id = running->id;
  waiting_.push_back(std::move(running));
  work_.notify_one();
  return id;
}

void Scheduler::cancel(uint64_t id) {
  const std::lock_guard lock(mutex_);
  cancelled_.ids.push_back(id);
  work_.notify_one();
}

void Scheduler::cancel_all() {
  const std::lock_guard lock(mutex_);
  cancelled_.all = true;
  work_.notify_one();
}

void Scheduler::close() {
  const std::lock_guard lock(mutex_);
  closed_ = true;
}

bool Scheduler::drain(Clock::time_point deadline) {
  std::unique_lock lock(mutex_);
  closed_ = true;
  return idle_.wait_until(lock, deadline, [this] { return waiting_.empty() && state_.running == 0; });
}

SchedulerState Scheduler::state() const {
  const std::lock_guard lock(mutex_);
  SchedulerState state = state_;
  state.waiting = static_cast<int>(waiting_.size());
  return state;
}

void Scheduler::run() {
  Cancelled cancelled;
  while (wait_for_work(cancelled)) {
    end_cancelled(cancelled);
    end_overdue();
    remove_finished();
    admit();
    step();
    remove_finished();
    publish_state();
  }
  std::deque<std::unique_ptr<Running>> unserved;
  {
    const std::lock_guard lock(mutex_);
    unserved.swap(waiting_);
  }
  for (const auto& request : unserved) finish(*request, FinishReason::kCancelled);
  for (const auto& request : running_) finish(*request, FinishReason::kCancelled);
  remove_finished();
  prefixes_.clear();
  publish_state();
}

/// Waits until there is something to do; false when the scheduler is to stop.
bool Scheduler::wait_for_work(Cancelled& cancelled) {
  std::unique_lock lock(mutex_);
  work_.wait(lock, [this] {
    return stopping_ || !waiting_.empty() || !running_.empty() || cancelled_.all || !cancelled_.ids.empty();
  });
  cancelled = std::exchange(cancelled_, {});
  return !stopping_;
}

void Scheduler::end_cancelled(const Cancelled& cancelled) {
  if (!cancelled.all && cancelled.ids.empty()) return;
  const auto is_cancelled = [&](const std::unique_ptr<Running>& request) {
    return cancelled.all ||
           std::find(cancelled.ids.begin(), cancelled.ids.end(), request->id) != cancelled.ids.end();
  };
  for (const auto& request : running_)
    if (is_cancelled(request)) finish(*request, FinishReason::kCancelled);
  std::vector<std::unique_ptr<Running>> ended;
  {
    const std::lock_guard lock(mutex_);
    const auto rest = std::stable_partition(waiting_.begin(), waiting_.end(),
                                            [&](const auto& request) { return !is_cancelled(request); });
    std::move(rest, waiting_.end(), std::back_inserter(ended));
    waiting_.erase(rest, waiting_.end());
  }
  // Sinks are called without the lock: they may call back.
  for (const auto& request : ended) finish(*request, FinishReason::kCancelled);
}

void Scheduler::end_overdue() {
  const auto now = Clock::now();
  const auto overdue = [&](const std::unique_ptr<Running>& request) {
    return request->request.deadline && now >= *request->request.deadline;
  };
  for (const auto& request : running_)
    if (overdue(request)) finish(*request, FinishReason::kDeadline);
  std::vector<std::unique_ptr<Running>> ended;
  {
    const std::lock_guard lock(mutex_);
    const auto rest = std::stable_partition(waiting_.begin(), waiting_.end(),
                                            [&](const auto& request) { return !overdue(request); });
    std::move(rest, waiting_.end(), std::back_inserter(ended));
    waiting_.erase(rest, waiting_.end());
  }
  for (const auto& request : ended) finish(*request, FinishReason::kDeadline);
}

void Scheduler::admit() {
  const auto slots = static_cast<size_t>(engine_.cache().options().sequences);
  std::vector<std::unique_ptr<Running>> admitted;
  for (;;) {
    std::unique_ptr<Running> next;
    {
      const std::lock_guard lock(mutex_);
      if (running_.size() >= slots) return;
      const auto ready = std::find_if(waiting_.begin(), waiting_.end(),
                                      [this](const auto& request) { return !should_wait(request->request); });
      if (ready == waiting_.end()) return;
      next = std::move(*ready);
      waiting_.erase(ready);
      ++state_.running;
    }
    start(std::move(next));
  }
}

/// Whether a prompt that is being read begins like this one, further than what is stored.
bool Scheduler::should_wait(const Request& request) const {
  if (prefixes_.capacity() == 0) return false;
  int shared = 0;
  for (const auto& other : running_)
    if (other->reads_prompt())
      shared = std::max(shared, common_prefix(other->request.prompt, request.prompt));
  return shared >= kWorthWaiting && shared - prefixes_.match(request.prompt) >= kWorthWaiting;
}

void Scheduler::start(std::unique_ptr<Running> request) {
  Running& r = *request;
  r.admitted = Clock::now();
  r.tokens = r.request.prompt;
  r.tokens.reserve(r.tokens.size() + static_cast<size_t>(r.max_tokens));
  r.sequence = engine_.cache().open();
  r.sampler.emplace(r.request.sampling, engine_.spec().vocab_size);
  r.sampler->see_prompt(r.request.prompt);
  // The last token must go through the model: its logits are what is drawn from.
  const auto before_last = std::span<const int32_t>(r.tokens).first(r.request.prompt.size() - 1);
  r.fed = prefixes_.attach(before_last, r.sequence);
  r.stored = r.fed / kPageTokens * kPageTokens;
  r.result.cached_tokens = r.fed;
  metrics_.prompt_tokens.fetch_add(r.request.prompt.size(), std::memory_order_relaxed);
  metrics_.cached_tokens.fetch_add(static_cast<uint64_t>(r.fed), std::memory_order_relaxed);
  running_.push_back(std::move(request));
}

void Scheduler::step() {
  if (running_.empty()) return;
  parts_.clear();
  stepped_.clear();
  prompts_.clear();
  int outputs = 0;
  for (const auto& request : running_) {
    Running& r = *request;
    r.output = -1;
    if (r.reads_prompt()) {
      prompts_.push_back(&r);
      continue;
    }
    parts_.push_back({r.sequence, std::span(r.tokens).subspan(static_cast<size_t>(r.fed)), Want::kLast});
    stepped_.push_back(&r);
    r.output = outputs++;
  }
  const int decoding = static_cast<int>(parts_.size());
  const int rows = engine_.max_rows() - decoding;
  plan_prompts(decoding > 0 ? std::min(rows, options_.prefill_rows) : rows);
  for (size_t i = static_cast<size_t>(decoding); i < parts_.size(); ++i)
    if (parts_[i].want == Want::kLast) stepped_[i]->output = outputs++;
  try {
    engine_.step(parts_);
    metrics_.steps.fetch_add(1, std::memory_order_relaxed);
    for (size_t i = 0; i < parts_.size(); ++i) stepped_[i]->fed += static_cast<int>(parts_[i].tokens.size());
    take_outputs();
  } catch (const std::exception& error) {
    // Which of them is at fault cannot be told; none can go on from a cache half written.
    for (Running* r : stepped_)
      if (!r->finished) finish(*r, FinishReason::kError, error.what());
  }
}

/// Shares `rows` between the prompts being read: the shortest rests first, each at most an even share of what
/// is left.
void Scheduler::plan_prompts(int rows) {
  std::stable_sort(prompts_.begin(), prompts_.end(), [](const Running* a, const Running* b) {
    return a->prompt_size() - a->fed < b->prompt_size() - b->fed;
  });
  auto left = static_cast<int>(prompts_.size());
  for (Running* r : prompts_) {
    const int share = std::max(1, (rows + left - 1) / left);
    const int rest = r->prompt_size() - r->fed;
    const int count = std::min({rest, share, rows, engine_.cache().options().chunk});
    --left;
    if (count <= 0) continue;
    rows -= count;
    parts_.push_back({r->sequence,
                      std::span(r->tokens).subspan(static_cast<size_t>(r->fed), static_cast<size_t>(count)),
                      count == rest ? Want::kLast : Want::kNothing});
    stepped_.push_back(r);
  }
}

/// Those of the request's tokens whose K and V are, to the bit, what a prompt that begins with them would
/// get.
std::span<const int32_t> Scheduler::reusable(const Running& r) const {
  const int count = engine_.backend().reads_apart() ? std::min(r.fed, r.prompt_size() - 1) : r.fed;
  return std::span(r.tokens).first(static_cast<size_t>(count));
}

/// Stores what the step has filled, and draws the next tokens.
void Scheduler::take_outputs() {
  for (Running* r : stepped_) {
    const bool prompt_done = r->output >= 0 && r->first_token == Clock::time_point{};
    const auto tokens = reusable(*r);
    const int whole_blocks = static_cast<int>(tokens.size()) / kPageTokens * kPageTokens;
    if (whole_blocks == r->stored && !prompt_done) continue;
    prefixes_.store(tokens, r->sequence, r->stored, prompt_done);
    r->stored = whole_blocks;
  }
  const int outputs = engine_.outputs();
  const int batch = engine_.max_logit_rows();
  const auto vocab = static_cast<size_t>(engine_.spec().vocab_size);
  // Outputs are numbered in the order of the parts.
  auto next = stepped_.begin();
  for (int first = 0; first < outputs; first += batch) {
    const int count = std::min(batch, outputs - first);
    const std::span<const float> logits = engine_.logits(first, count);
    for (int i = 0; i < count; ++i) {
      while ((*next)->output != first + i) ++next;
      draw(**next, logits.subspan(static_cast<size_t>(i) * vocab, vocab));
    }
  }
}

void Scheduler::draw(Running& r, std::span<const float> logits) {
  DrawnToken token;
  try {
    std::span<const float> allowed = logits;
    if (r.request.mask) {
      masked_.assign(logits.begin(), logits.end());
      r.request.mask->apply(masked_);
      allowed = masked_;
    }
    token.id = r.sampler->sample(allowed);
    if (r.request.mask) r.request.mask->advance(token.id);
  } catch (const std::exception& error) {
    return finish(r, FinishReason::kError, error.what());
  }
  const auto now = Clock::now();
  if (r.result.generated_tokens == 0) {
    r.first_token = now;
    metrics_.time_to_first_token.record(seconds(now - r.submitted));
  } else {
    metrics_.inter_token.record(seconds(now - r.last_token));
  }
  r.last_token = now;
  ++r.result.generated_tokens;
  metrics_.generated_tokens.fetch_add(1, std::memory_order_relaxed);

  const std::vector<int>& stops = r.request.stop_ids;
  if (std::find(stops.begin(), stops.end(), token.id) != stops.end()) {
    r.result.stop_id = token.id;
    return finish(r, FinishReason::kStopId);
  }
  if (r.request.top_logprobs >= 0) token.logprobs = token_logprobs(logits, token.id, r.request.top_logprobs);
  r.tokens.push_back(token.id);
  if (!r.request.sink->on_token(token)) return finish(r, FinishReason::kStopped);
  if (r.result.generated_tokens == r.max_tokens) finish(r, FinishReason::kLength);
}

/// Gives back the request's sequence and tells its sink; remove_finished() destroys it.
void Scheduler::finish(Running& r, FinishReason reason, const std::string& error) {
  if (r.finished) return;
  r.finished = true;
  if (r.sequence >= 0) {
    // The next turn of a conversation goes on from here.
    if (reason != FinishReason::kError && !r.reads_prompt())
      prefixes_.store(reusable(r), r.sequence, r.stored, /*partial=*/true);
    engine_.cache().close(r.sequence);
  }
  r.result.reason = reason;
  r.result.error = error;
  const auto ms = [](Clock::duration d) { return 1000 * seconds(d); };
  if (r.result.generated_tokens > 0) {
    r.result.prompt_ms = ms(r.first_token - r.admitted);
    r.result.generated_ms = ms(r.last_token - r.first_token);
  }
  metrics_.finished[static_cast<size_t>(reason)].fetch_add(1, std::memory_order_relaxed);
  if (reason != FinishReason::kCancelled) metrics_.end_to_end.record(seconds(Clock::now() - r.submitted));
  r.request.sink->on_finish(r.result);
}

void Scheduler::remove_finished() {
  std::erase_if(running_, [](const auto& request) { return request->finished; });
}

void Scheduler::publish_state() {
  const std::lock_guard lock(mutex_);
  const KvCache& cache = engine_.cache();
  state_.running = static_cast<int>(running_.size());
  state_.kv_pages_used = cache.total_pages() - cache.free_pages();
  state_.cached_blocks = prefixes_.blocks();
  if (state_.running == 0 && waiting_.empty()) idle_.notify_all();
}

}  // namespace facet
