#include "server/generation.h"

#include <fmt/format.h>

#include "base/error.h"
#include "server/mailbox.h"

namespace facet::server {
namespace {

using Pieces = Mailbox<AnswerPiece>;

/// Reads a choice's tokens on the scheduler's thread and posts the pieces to the I/O thread.
class ChoiceSink final : public TokenSink {
 public:
  ChoiceSink(size_t choice, std::unique_ptr<AnswerReader> reader, std::shared_ptr<Pieces> pieces)
      : choice_(choice), reader_(std::move(reader)), pieces_(std::move(pieces)) {}

  bool on_token(const DrawnToken& token) override {
    AnswerPiece piece;
    piece.choice = choice_;
    if (token.logprobs) {
      LoggedToken& logged = piece.logprobs.emplace_back();
      logged.drawn = {token.id, token.logprobs->drawn};
      for (const TokenLogprob& top : token.logprobs->top) logged.top.push_back({top.id, top.logprob});
    }
    const bool more = reader_->push(token.id, piece);
    if (!piece.empty()) pieces_->push(std::move(piece));
    return more;
  }

  void on_finish(const Finish& finish) override {
    AnswerPiece piece;
    piece.choice = choice_;
    reader_->finish(piece);
    piece.finish = finish;
    pieces_->push(std::move(piece));
  }

 private:
  size_t choice_;
  std::unique_ptr<AnswerReader> reader_;
  std::shared_ptr<Pieces> pieces_;
};

/// The requests of one job in the scheduler; those unfinished are cancelled with it.
class Submitted {
 public:
  explicit Submitted(Scheduler& scheduler) : scheduler_(scheduler) {}
  ~Submitted() {
    if (!finished_) cancel();
  }
  Submitted(const Submitted&) = delete;
  Submitted& operator=(const Submitted&) = delete;

  void submit(Request request) {
    const auto id = scheduler_.submit(std::move(request));
    if (!id) throw ApiError(429, "too many requests are waiting", {}, "queue_full");
    ids_.push_back(*id);
  }
  void cancel() {
    for (const uint64_t id : ids_) scheduler_.cancel(id);
  }
  void set_finished() { finished_ = true; }

 private:
  Scheduler& scheduler_;
  std::vector<uint64_t> ids_;
  bool finished_ = false;
};

void submit_all(Submitted& submitted, ServedModel& model, const GenerationJob& job,
                const std::shared_ptr<Pieces>& pieces, GenerationTimes times) {
  const GenerationRequest& wanted = job.request;
  size_t choice = 0;
  for (const std::vector<int32_t>& prompt : job.prompts) {
    if (prompt.size() > static_cast<size_t>(model.context()))
      throw ApiError(
          400, fmt::format("the prompt has {} tokens, the context holds {}", prompt.size(), model.context()),
          "messages", "context_length_exceeded");
    for (int i = 0; i < wanted.choices; ++i) {
      Request request;
      request.prompt = prompt;
      request.sampling = wanted.sampling;
      request.sampling.seed +=
          static_cast<uint64_t>(i);  // each choice its own; the first as if it were alone
      if (!wanted.ignore_eos || job.schema) request.stop_ids = model.stop_ids();
      if (job.schema) request.mask = std::make_unique<JsonMask>(job.vocabulary, job.schema, model.stop_ids());
      request.max_tokens = wanted.max_tokens;
      request.top_logprobs = wanted.top_logprobs;
      request.deadline = std::chrono::steady_clock::now() + times.request;
      request.sink = std::make_unique<ChoiceSink>(choice, job.make_reader(), pieces);
      ++choice;
      try {
        submitted.submit(std::move(request));
      } catch (const Error& error) {
        throw ApiError(400, error.what());
      }
    }
  }
}

/// A finish that is no answer.
std::optional<ApiError> failure_of(const Finish& finish) {
  if (finish.reason == FinishReason::kError) return ApiError(500, finish.error);
  if (finish.reason == FinishReason::kCancelled) return ApiError(503, "the server is stopping");
  return std::nullopt;
}

std::string event_text(const OrderedJson& json) {
  return fmt::format("data: {}\n\n", to_text(json));
}

void count(Usage& usage, const AnswerPiece& piece, int choices) {
  usage.generated_tokens += piece.finish->generated_tokens;
  if (piece.choice == 0) {
    usage.prompt_ms = piece.finish->prompt_ms;
    usage.generated_ms = piece.finish->generated_ms;
  }
  if (piece.choice % static_cast<size_t>(choices) != 0) return;
  usage.prompt_tokens += piece.finish->prompt_tokens;
  usage.cached_tokens += piece.finish->cached_tokens;
}

net::awaitable<void> answer_whole(Exchange& exchange, Pieces& pieces, const GenerationJob& job,
                                  size_t choices, Usage& usage) {
  std::vector<Choice> answers(choices);
  std::optional<ApiError> failure;
  for (size_t open = choices; open > 0;) {
    const std::vector<AnswerPiece> taken = co_await pieces.take(std::chrono::hours(1));
    for (const AnswerPiece& piece : taken) {
      answers[piece.choice].add(piece);
      if (!piece.finish) continue;
      --open;
      count(usage, piece, job.request.choices);
      if (const auto failed = failure_of(*piece.finish)) failure = failed;
    }
  }
  if (failure) throw ApiError(*failure);
  HttpResponse response;
  response.body = to_text(job.shape->whole(answers, usage));
  co_await exchange.respond(std::move(response));
}

net::awaitable<void> answer_stream(Exchange& exchange, Pieces& pieces, const GenerationJob& job,
                                   size_t choices, Usage& usage, std::chrono::milliseconds ping) {
  co_await exchange.start_events();
  std::string text;
  for (size_t i = 0; i < choices; ++i)
    if (const OrderedJson first = job.shape->first_event(i); !first.is_null()) text += event_text(first);
  std::optional<ApiError> failure;
  for (size_t open = choices; open > 0;) {
    if (!text.empty()) co_await exchange.send_events(std::exchange(text, {}));
    const std::vector<AnswerPiece> taken = co_await pieces.take(ping);
    if (taken.empty()) text = ": ping\n\n";
    for (const AnswerPiece& piece : taken) {
      const auto failed = piece.finish ? failure_of(*piece.finish) : std::nullopt;
      if (failed) failure = failed;
      if (!failed) text += event_text(job.shape->event(piece));
      if (!piece.finish) continue;
      --open;
      count(usage, piece, job.request.choices);
    }
  }
  if (failure) {
    text += fmt::format("data: {}\n\n", error_response(*failure).body);
  } else {
    if (job.request.include_usage) text += event_text(job.shape->usage_event(usage));
    text += "data: [DONE]\n\n";
  }
  co_await exchange.send_events(std::move(text));
  co_await exchange.end_events();
}

}  // namespace

net::awaitable<Usage> generate(Exchange& exchange, net::io_context& io, ServedModel& model, GenerationJob job,
                               GenerationTimes times) {
  const auto pieces = std::make_shared<Pieces>(io);
  const size_t choices = job.prompts.size() * static_cast<size_t>(job.request.choices);
  const auto submitted = std::make_shared<Submitted>(model.scheduler());
  submit_all(*submitted, model, job, pieces, times);
  // The pieces that tell of the cancellation end the answer, and the writes of it fail.
  exchange.on_disconnect([weak = std::weak_ptr(submitted)] {
    if (const auto there = weak.lock()) there->cancel();
  });
  Usage usage;
  if (job.request.stream) {
    co_await answer_stream(exchange, *pieces, job, choices, usage, times.ping);
  } else {
    co_await answer_whole(exchange, *pieces, job, choices, usage);
  }
  submitted->set_finished();
  co_return usage;
}

}  // namespace facet::server
