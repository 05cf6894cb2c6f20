// The endpoints.
#pragma once

#include <chrono>
#include <functional>
#include <string>

#include "server/connection.h"
#include "server/event_log.h"
#include "server/generation.h"
#include "server/metrics_text.h"
#include "server/served_model.h"

namespace facet::server {

/// Serves requests with a model, once there is one. All on the I/O thread, but for the tokenizer's work,
/// which has a thread of its own.
class Api {
 public:
  Api(net::io_context& io, EventLog& log, GenerationTimes times, std::function<size_t()> connections)
      : io_(io), log_(log), times_(times), connections_(std::move(connections)) {}

  /// The model to serve from now on; until then most requests get a 503.
  void set_model(ServedModel* model) noexcept { model_ = model; }
  void set_draining() noexcept { draining_ = true; }

  /// Answers one request, and logs and counts it.
  net::awaitable<void> handle(Exchange& exchange);

 private:
  /// Answers and returns what the answer took.
  using Method = net::awaitable<Usage> (Api::*)(Exchange&);
  struct Route;

  net::awaitable<Usage> page(Exchange& exchange);
  net::awaitable<Usage> health(Exchange& exchange);
  net::awaitable<Usage> metrics(Exchange& exchange);
  net::awaitable<Usage> models(Exchange& exchange);
  net::awaitable<Usage> tokenize(Exchange& exchange);
  net::awaitable<Usage> detokenize(Exchange& exchange);
  net::awaitable<Usage> completions(Exchange& exchange);
  net::awaitable<Usage> chat_completions(Exchange& exchange);

  [[nodiscard]] static const Route* find_route(const HttpRequest& request);
  [[nodiscard]] ServedModel& model() const;
  net::awaitable<Usage> run(Exchange& exchange, GenerationJob job);
  [[nodiscard]] AnswerOrigin origin(std::string_view id_prefix) const;
  void log_request(std::string_view route, int status, std::chrono::steady_clock::duration time,
                   const Usage& usage);
  template <class Work>
  auto on_worker(Work work);

  net::io_context& io_;
  EventLog& log_;
  GenerationTimes times_;
  std::function<size_t()> connections_;
  ServedModel* model_ = nullptr;
  bool draining_ = false;
  RequestCounts counts_;
  net::thread_pool worker_{1};
};

}  // namespace facet::server
