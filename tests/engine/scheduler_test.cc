// Many requests at once give each what it gets alone; nothing leaks; everything ends.
#include "engine/scheduler.h"

#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <random>

#include "base/error.h"
#include "engine/generate.h"
#include "support/golden.h"

namespace facet {
namespace {

using Tokens = std::vector<int32_t>;
using namespace std::chrono_literals;

struct Answer {
  Tokens ids;
  std::vector<float> logprobs;
  Finish finish;
};

/// Collects an answer; ends after `most` tokens if that is not 0.
class Collector final : public TokenSink {
 public:
  explicit Collector(size_t most = 0, std::function<void()> on_token = {})
      : most_(most), on_token_(std::move(on_token)) {}
  std::future<Answer> answer() { return promise_.get_future(); }
  bool on_token(const DrawnToken& token) override {
    answer_.ids.push_back(token.id);
    if (token.logprobs) answer_.logprobs.push_back(token.logprobs->drawn);
    if (on_token_) on_token_();
    return answer_.ids.size() != most_;
  }
  void on_finish(const Finish& finish) override {
    answer_.finish = finish;
    promise_.set_value(answer_);
  }

 private:
  size_t most_;
  std::function<void()> on_token_;
  Answer answer_;
  std::promise<Answer> promise_;
};

struct Case {
  Tokens prompt;
  SamplingParams sampling;
  int max_tokens = 0;
};

class SchedulerTest : public ::testing::TestWithParam<std::string> {
 protected:
  [[nodiscard]] KvType kv_type() const { return backend_ == "reference" ? KvType::kF32 : KvType::kBF16; }

  static std::string model() {
    const auto* info = ::testing::UnitTest::GetInstance()->current_test_info();
    return info->value_param() != nullptr ? GetParam() : "tiny-e2b";
  }

  Engine load(int sequences, int64_t prefix_blocks, int chunk = 64, int context = 512) {
    Checkpoint checkpoint = open_checkpoint(testing::load_golden(model()).directory.string());
    EngineOptions options;
    options.backend = backend_;
    options.threads = 2;
    options.sequences = sequences;
    options.context = context;
    options.chunk = chunk;
    options.prefix_bytes = prefix_blocks * KvCache::block_bytes(checkpoint.spec, kv_type());
    return {std::move(checkpoint), options};
  }

  static Request request(const Case& c, std::unique_ptr<Collector> sink) {
    Request r;
    r.prompt = c.prompt;
    r.sampling = c.sampling;
    r.max_tokens = c.max_tokens;
    r.top_logprobs = 0;
    r.sink = std::move(sink);
    return r;
  }

  static std::future<Answer> submit(Scheduler& scheduler, const Case& c) {
    auto sink = std::make_unique<Collector>();
    auto answer = sink->answer();
    EXPECT_TRUE(scheduler.submit(request(c, std::move(sink))));
    return answer;
  }

  /// The same request on an engine of its own, without a scheduler.
  Tokens alone(const Case& c) {
    Engine engine = load(1, 0);
    GenerateOptions options;
    options.sampling = c.sampling;
    options.max_tokens = c.max_tokens;
    return generate(engine, engine.cache().open(), c.prompt, options).ids;
  }

  static void expect_nothing_held(Engine& engine) {
    EXPECT_EQ(engine.cache().free_pages(), engine.cache().total_pages());
    EXPECT_EQ(engine.cache().free_ring_pages(), engine.cache().total_ring_pages());
  }

  /// Many requests at once, with little, some and much memory for prefixes.
  void expect_independence();

  std::string backend_ = "reference";
};

Tokens random_tokens(std::mt19937& random, size_t length) {
  Tokens tokens(length);
  for (int32_t& token : tokens) token = static_cast<int32_t>(3 + random() % 200);
  return tokens;
}

/// Requests of many lengths, of which many begin alike.
std::vector<Case> random_cases(std::mt19937& random, size_t count) {
  const Tokens trunk = random_tokens(random, 300);
  std::vector<Case> cases(count);
  for (Case& c : cases) {
    if (random() % 3 != 0)
      c.prompt.assign(trunk.begin(), trunk.begin() + static_cast<std::ptrdiff_t>(random() % 300));
    const Tokens rest = random_tokens(random, 1 + random() % 40);
    c.prompt.insert(c.prompt.end(), rest.begin(), rest.end());
    c.sampling.temperature = random() % 3 == 0 ? 0.0F : 1.5F;
    c.sampling.top_k = random() % 2 == 0 ? 0 : 20;
    c.sampling.seed = random();
    c.max_tokens = static_cast<int>(1 + random() % 30);
  }
  return cases;
}

// On the cpu backend, too, rows must not depend on the step they are in.
TEST_P(SchedulerTest, AFullBatchGivesEachRequestWhatItGetsAlone) {
  for (const char* backend : {"reference", "cpu"}) {
    backend_ = backend;
    SCOPED_TRACE(backend);
    expect_independence();
  }
}

void SchedulerTest::expect_independence() {
  std::mt19937 random(11);
  const std::vector<Case> cases = random_cases(random, 14);
  std::vector<Tokens> expected;
  expected.reserve(cases.size());
  for (const Case& c : cases) expected.push_back(alone(c));
  for (const auto& [sequences, blocks] : {std::pair{5, 0}, {5, 5}, {5, 64}, {14, 5}}) {
    Engine engine = load(sequences, blocks);
    {
      Scheduler scheduler(engine, {});
      std::vector<std::future<Answer>> answers;
      for (const Case& c : cases) answers.push_back(submit(scheduler, c));
      int cached = 0;
      for (size_t i = 0; i < cases.size(); ++i) {
        const Answer answer = answers[i].get();
        EXPECT_EQ(answer.ids, expected[i]) << "request " << i << ", " << blocks << " blocks";
        EXPECT_EQ(answer.finish.reason, FinishReason::kLength);
        EXPECT_EQ(answer.finish.generated_tokens, cases[i].max_tokens);
        cached += answer.finish.cached_tokens;
      }
      EXPECT_EQ(cached > 0, blocks > 0);
      EXPECT_TRUE(scheduler.drain(std::chrono::steady_clock::now() + 10s));
    }
    expect_nothing_held(engine);
  }
}

// The goldens' own continuations, from a cache that was filled by something else.
TEST_P(SchedulerTest, ReuseIsBitwiseExact) {
  const testing::Golden golden = testing::load_golden(model());
  Case c{golden.prompt_ids, {}, static_cast<int>(golden.greedy_ids.size())};
  c.sampling.temperature = 0;
  Engine plain_engine = load(2, 0, 64, 1280);
  Engine engine = load(2, 64, 64, 1280);
  Scheduler plain(plain_engine, {});
  Scheduler scheduler(engine, {});
  const Answer expected = submit(plain, c).get();
  EXPECT_EQ(expected.ids, golden.greedy_ids);

  Case other = c;  // leaves the prompt at its middle
  other.prompt.resize(c.prompt.size() / 2);
  other.prompt.push_back(7);
  const int half = static_cast<int>(c.prompt.size() / 2);
  EXPECT_EQ(submit(scheduler, other).get().finish.cached_tokens, 0);
  for (const int cached : {half, static_cast<int>(c.prompt.size()) - 1}) {
    const Answer answer = submit(scheduler, c).get();
    EXPECT_EQ(answer.finish.cached_tokens, cached);
    EXPECT_EQ(answer.ids, expected.ids);
    EXPECT_EQ(answer.logprobs, expected.logprobs);
  }
}

INSTANTIATE_TEST_SUITE_P(Reference, SchedulerTest, ::testing::Values("tiny-e2b", "tiny-31b", "tiny-26b-a4b"),
                         [](const auto& test) { return testing::test_name(test.param); });

class SchedulerLifeTest : public SchedulerTest {};

// From before the prompt's last token where an answer's keys and values, and that token's, are not, to the
// bit, those that reading them would give.
TEST_F(SchedulerLifeTest, TheNextTurnGoesOnFromTheAnswer) {
  for (const char* backend : {"reference", "cpu"}) {
    SCOPED_TRACE(backend);
    backend_ = backend;
    Engine engine = load(1, 64);
    Scheduler scheduler(engine, {});
    std::mt19937 random(3);
    Case c{random_tokens(random, 100), {}, 50};
    for (int turn = 0; turn < 4; ++turn) {
      const Answer answer = submit(scheduler, c).get();
      EXPECT_EQ(answer.ids, alone(c));
      const auto read = static_cast<int>(c.prompt.size()) - 1;
      c.prompt.insert(c.prompt.end(), answer.ids.begin(), answer.ids.end());
      const auto before = static_cast<int>(c.prompt.size());
      const Tokens question = random_tokens(random, 10);
      c.prompt.insert(c.prompt.end(), question.begin(), question.end());
      const Answer next = submit(scheduler, c).get();
      EXPECT_EQ(next.ids, alone(c));
      // The answer's last token was never in the cache.
      EXPECT_EQ(next.finish.cached_tokens, engine.backend().reads_apart() ? read : before - 1);
    }
  }
}

TEST_F(SchedulerLifeTest, RequestsThatBeginAlikeWaitForTheFirst) {
  Engine engine = load(4, 64);
  std::mt19937 random(5);
  const Case c{random_tokens(random, 400), {}, 5};
  Scheduler scheduler(engine, {});
  std::vector<std::future<Answer>> answers;
  for (int i = 0; i < 8; ++i) answers.push_back(submit(scheduler, c));
  int cached = 0;
  for (auto& answer : answers) cached += answer.get().finish.cached_tokens;
  EXPECT_GE(cached, 7 * (399 - kPageTokens)) << "the last block is not worth waiting for";
  EXPECT_LE(cached, 7 * 399);
}

TEST_F(SchedulerLifeTest, AShortPromptIsNotHeldUpByALongOne) {
  Engine engine = load(2, 0, 16);
  Scheduler scheduler(engine, {});
  std::mt19937 random(9);
  std::atomic<int> order{0};
  int long_at = 0;
  int short_at = 0;
  Case big{random_tokens(random, 500), {}, 1};
  Case small{random_tokens(random, 4), {}, 1};
  auto big_sink = std::make_unique<Collector>(0, [&] { long_at = ++order; });
  auto small_sink = std::make_unique<Collector>(0, [&] { short_at = ++order; });
  auto big_answer = big_sink->answer();
  auto small_answer = small_sink->answer();
  ASSERT_TRUE(scheduler.submit(request(big, std::move(big_sink))));
  ASSERT_TRUE(scheduler.submit(request(small, std::move(small_sink))));
  big_answer.get();
  small_answer.get();
  EXPECT_LT(short_at, long_at);
}

TEST_F(SchedulerLifeTest, TheQueueIsBounded) {
  Engine engine = load(1, 0);
  SchedulerOptions options;
  options.queue = 3;
  Scheduler scheduler(engine, options);
  const Case endless{{5}, {}, 400};
  std::promise<void> hold;
  const auto held = hold.get_future().share();
  auto sink = std::make_unique<Collector>(0, [held] { held.wait(); });
  auto first = sink->answer();
  ASSERT_TRUE(scheduler.submit(request(endless, std::move(sink))));
  while (scheduler.state().running == 0) std::this_thread::sleep_for(1ms);
  std::vector<std::future<Answer>> queued;
  for (int i = 0; i < 3; ++i) queued.push_back(submit(scheduler, {{6}, {}, 1}));
  EXPECT_EQ(scheduler.state().waiting, 3);
  EXPECT_FALSE(scheduler.submit(request(endless, std::make_unique<Collector>())));
  hold.set_value();
  EXPECT_EQ(first.get().ids.size(), 400U);
  for (auto& answer : queued) EXPECT_EQ(answer.get().ids.size(), 1U);
}

TEST_F(SchedulerLifeTest, CancelledRequestsEndWhereverTheyAre) {
  Engine engine = load(2, 8);
  {
    Scheduler scheduler(engine, {});
    std::mt19937 random(13);
    std::vector<uint64_t> ids;
    std::vector<std::future<Answer>> answers;
    for (int i = 0; i < 40; ++i) {
      auto sink = std::make_unique<Collector>();
      answers.push_back(sink->answer());
      Case c{random_tokens(random, 1 + random() % 200), {}, 300};
      ids.push_back(*scheduler.submit(request(c, std::move(sink))));
    }
    std::shuffle(ids.begin(), ids.end(), random);
    for (const uint64_t id : ids) {
      scheduler.cancel(id);
      if (random() % 4 == 0) std::this_thread::sleep_for(2ms);
    }
    scheduler.cancel(987654321);  // never was
    for (auto& answer : answers) EXPECT_EQ(answer.get().finish.reason, FinishReason::kCancelled);
    EXPECT_TRUE(scheduler.drain(std::chrono::steady_clock::now() + 10s));
    const SchedulerState state = scheduler.state();
    EXPECT_EQ(state.running, 0);
    EXPECT_EQ(state.waiting, 0);
    EXPECT_EQ(state.kv_pages_used, state.cached_blocks);
  }
  expect_nothing_held(engine);
}

TEST_F(SchedulerLifeTest, ADestroyedSchedulerEndsEveryRequest) {
  Engine engine = load(2, 8);
  std::vector<std::future<Answer>> answers;
  {
    Scheduler scheduler(engine, {});
    for (int i = 0; i < 10; ++i) answers.push_back(submit(scheduler, {{5, 6, 7}, {}, 500}));
    std::this_thread::sleep_for(5ms);
  }
  for (auto& answer : answers) EXPECT_EQ(answer.get().finish.reason, FinishReason::kCancelled);
  expect_nothing_held(engine);
}

TEST_F(SchedulerLifeTest, DeadlinesStopIdsAndSinksEndARequest) {
  Engine engine = load(2, 0);
  Scheduler scheduler(engine, {});
  Case c{{5, 6, 7}, {}, 300};
  const Tokens expected = alone(c);

  auto late_sink = std::make_unique<Collector>(0, [] { std::this_thread::sleep_for(5ms); });
  auto late = late_sink->answer();
  Request overdue = request(c, std::move(late_sink));
  overdue.deadline = std::chrono::steady_clock::now() + 30ms;
  ASSERT_TRUE(scheduler.submit(std::move(overdue)));
  EXPECT_EQ(late.get().finish.reason, FinishReason::kDeadline);

  auto stop_sink = std::make_unique<Collector>();
  auto stop = stop_sink->answer();
  Request stopping = request(c, std::move(stop_sink));
  stopping.stop_ids = {expected[10]};
  ASSERT_TRUE(scheduler.submit(std::move(stopping)));
  const Answer stopped = stop.get();
  EXPECT_EQ(stopped.finish.reason, FinishReason::kStopId);
  EXPECT_EQ(stopped.finish.stop_id, expected[10]);
  EXPECT_EQ(stopped.ids.back(), expected[stopped.ids.size() - 1]);

  auto enough_sink = std::make_unique<Collector>(4);
  auto enough = enough_sink->answer();
  ASSERT_TRUE(scheduler.submit(request(c, std::move(enough_sink))));
  const Answer four = enough.get();
  EXPECT_EQ(four.finish.reason, FinishReason::kStopped);
  EXPECT_EQ(four.ids, Tokens(expected.begin(), expected.begin() + 4));
}

TEST_F(SchedulerLifeTest, TheContextMayBeExactlyFull) {
  Engine engine = load(1, 8);
  Scheduler scheduler(engine, {});
  std::mt19937 random(17);
  const Answer full = submit(scheduler, {random_tokens(random, 512), {}, 0}).get();
  EXPECT_EQ(full.finish.reason, FinishReason::kLength);
  EXPECT_EQ(full.ids.size(), 1U) << "there is room for the prompt, and one token can be drawn from it";
  const Answer rest = submit(scheduler, {random_tokens(random, 500), {}, 0}).get();
  EXPECT_EQ(rest.ids.size(), 13U);
  EXPECT_THROW(
      (void)scheduler.submit(request({random_tokens(random, 513), {}, 0}, std::make_unique<Collector>())),
      Error);
}

TEST_F(SchedulerLifeTest, BadRequestsAreRefusedAtOnce) {
  Engine engine = load(1, 0);
  Scheduler scheduler(engine, {});
  Case c{{5}, {}, 1};
  const auto refused = [&](const Case& bad) {
    EXPECT_THROW((void)scheduler.submit(request(bad, std::make_unique<Collector>())), Error);
  };
  refused({{}, {}, 1});
  refused({{-1}, {}, 1});
  refused({{512}, {}, 1});
  c.sampling.temperature = -1;
  refused(c);
  scheduler.close();
  EXPECT_FALSE(scheduler.submit(request({{5}, {}, 1}, std::make_unique<Collector>())));
}

TEST_F(SchedulerLifeTest, MetricsCountWhatHappened) {
  Engine engine = load(2, 16);
  Scheduler scheduler(engine, {});
  std::mt19937 random(19);
  const Case c{random_tokens(random, 100), {}, 8};
  submit(scheduler, c).get();
  submit(scheduler, c).get();
  ASSERT_TRUE(scheduler.drain(std::chrono::steady_clock::now() + 10s));
  const ServingMetrics& m = scheduler.metrics();
  EXPECT_EQ(m.prompt_tokens, 200U);
  EXPECT_EQ(m.cached_tokens, 99U);
  EXPECT_EQ(m.generated_tokens, 16U);
  EXPECT_EQ(m.finished[static_cast<size_t>(FinishReason::kLength)], 2U);
  uint64_t gaps = 0;
  uint64_t firsts = 0;
  for (size_t i = 0; i < Histogram::kBuckets; ++i) {
    gaps += m.inter_token.count(i);
    firsts += m.time_to_first_token.count(i);
  }
  EXPECT_EQ(firsts, 2U);
  EXPECT_EQ(gaps, 14U);
}

// Requests come, go and are abandoned from several threads at once.
TEST_F(SchedulerLifeTest, RandomTrafficFromManyThreads) {
  Engine engine = load(4, 12);
  std::mt19937 seeds(23);
  const std::vector<Case> cases = random_cases(seeds, 12);
  std::vector<Tokens> expected;
  expected.reserve(cases.size());
  for (const Case& c : cases) expected.push_back(alone(c));
  {
    SchedulerOptions options;
    options.queue = 16;
    Scheduler scheduler(engine, options);
    std::atomic<int> finished{0};
    const auto client = [&](unsigned seed) {
      std::mt19937 random(seed);
      for (int i = 0; i < 20; ++i) {
        const size_t which = random() % cases.size();
        auto sink = std::make_unique<Collector>();
        auto answer = sink->answer();
        const auto id = scheduler.submit(request(cases[which], std::move(sink)));
        if (!id) {
          std::this_thread::sleep_for(1ms);
          continue;
        }
        if (random() % 4 == 0) scheduler.cancel(*id);
        const Answer got = answer.get();
        ASSERT_LE(got.ids.size(), expected[which].size());
        EXPECT_TRUE(std::equal(got.ids.begin(), got.ids.end(), expected[which].begin()));
        if (got.finish.reason != FinishReason::kCancelled) {
          EXPECT_EQ(got.ids, expected[which]);
        }
        ++finished;
      }
    };
    std::vector<std::thread> clients;
    for (unsigned i = 0; i < 6; ++i) clients.emplace_back(client, 100 + i);
    for (std::thread& thread : clients) thread.join();
    EXPECT_GT(finished, 60);
    EXPECT_TRUE(scheduler.drain(std::chrono::steady_clock::now() + 10s));
    const SchedulerState state = scheduler.state();
    EXPECT_EQ(state.kv_pages_used, state.cached_blocks);
  }
  expect_nothing_held(engine);
}

}  // namespace
}  // namespace facet
