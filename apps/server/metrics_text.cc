#include "server/metrics_text.h"

#include <fmt/format.h>

#include <iterator>
#include <string_view>

namespace facet::server {
namespace {

class Writer {
 public:
  void gauge(std::string_view name, std::string_view help, double value) {
    single(name, "gauge", help, value);
  }
  void counter(std::string_view name, std::string_view help, double value) {
    single(name, "counter", help, value);
  }

  void head(std::string_view name, std::string_view type, std::string_view help) {
    fmt::format_to(std::back_inserter(text_), "# HELP facet_{0} {2}\n# TYPE facet_{0} {1}\n", name, type,
                   help);
  }
  void sample(std::string_view name, std::string_view labels, double value) {
    fmt::format_to(std::back_inserter(text_), "facet_{}{{{}}} {}\n", name, labels, value);
  }

  void histogram(std::string_view name, std::string_view help, const Histogram& histogram) {
    head(name, "histogram", help);
    uint64_t below = 0;
    for (size_t i = 0; i < Histogram::kBuckets; ++i) {
      below += histogram.count(i);
      const bool last = i == Histogram::kBounds.size();
      const std::string bound = last ? "+Inf" : fmt::format("{}", Histogram::kBounds[i]);
      fmt::format_to(std::back_inserter(text_), "facet_{}_bucket{{le=\"{}\"}} {}\n", name, bound, below);
    }
    fmt::format_to(std::back_inserter(text_), "facet_{0}_sum {1}\nfacet_{0}_count {2}\n", name,
                   histogram.sum(), below);
  }

  [[nodiscard]] std::string take() { return std::move(text_); }

 private:
  void single(std::string_view name, std::string_view type, std::string_view help, double value) {
    head(name, type, help);
    fmt::format_to(std::back_inserter(text_), "facet_{} {}\n", name, value);
  }

  std::string text_;
};

void write_scheduler(Writer& out, const Scheduler& scheduler) {
  const ServingMetrics& m = scheduler.metrics();
  const SchedulerState state = scheduler.state();
  const auto count = [](const std::atomic<uint64_t>& n) {
    return static_cast<double>(n.load(std::memory_order_relaxed));
  };
  out.histogram("time_to_first_token_seconds", "From a request's arrival to its first token.",
                m.time_to_first_token);
  out.histogram("inter_token_seconds", "From one token of an answer to the next.", m.inter_token);
  out.histogram("request_seconds", "From a request's arrival to the end of its answer.", m.end_to_end);
  out.counter("prompt_tokens_total", "Prompt tokens, cached ones included.", count(m.prompt_tokens));
  out.counter("cached_tokens_total", "Prompt tokens taken from the prefix cache.", count(m.cached_tokens));
  out.counter("generated_tokens_total", "Tokens drawn.", count(m.generated_tokens));
  out.counter("steps_total", "Steps of the engine.", count(m.steps));
  out.head("finished_total", "counter", "Finished requests by reason.");
  constexpr std::array<std::string_view, 6> kReasons = {"length",    "stop_id",  "stopped",
                                                        "cancelled", "deadline", "error"};
  for (size_t i = 0; i < kReasons.size(); ++i)
    out.sample("finished_total", fmt::format("reason=\"{}\"", kReasons[i]), count(m.finished[i]));
  out.gauge("requests_running", "Requests being read or answered.", state.running);
  out.gauge("requests_waiting", "Requests that wait for a sequence.", state.waiting);
  out.gauge("kv_pages", "Pages of 64 tokens in the full layers' cache.", state.kv_pages);
  out.gauge("kv_pages_used", "Of these, held by requests or the prefix cache.", state.kv_pages_used);
  out.gauge("prefix_blocks", "Blocks of 64 tokens in the prefix cache.", state.cached_blocks);
}

}  // namespace

std::string metrics_text(const Scheduler* scheduler, const RequestCounts& requests, size_t connections) {
  Writer out;
  out.gauge("ready", "1 when a model is loaded.", scheduler != nullptr ? 1 : 0);
  out.gauge("connections", "Open connections.", static_cast<double>(connections));
  out.head("http_requests_total", "counter", "Answered requests by route and status.");
  for (const auto& [key, count] : requests)
    out.sample("http_requests_total", fmt::format("route=\"{}\",status=\"{}\"", key.first, key.second),
               static_cast<double>(count));
  if (scheduler != nullptr) write_scheduler(out, *scheduler);
  return out.take();
}

}  // namespace facet::server
