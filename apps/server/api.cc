#include "server/api.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>

#include "base/error.h"
#include "server/page.h"

namespace facet::server {
namespace {

constexpr size_t kMaxIds = size_t{1} << 20;
constexpr int kClientLeft = 499;  // in logs and metrics, as nginx has it

int64_t unix_seconds() {
  return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch())
      .count();
}

HttpResponse json_response(const OrderedJson& json, int status = 200) {
  HttpResponse response;
  response.status = status;
  response.body = to_text(json);
  return response;
}

OrderedJson failure_fields(std::string_view route, const char* error) {
  return {{"route", route}, {"error", error}};
}

// JSON is built outside of the coroutines: GCC 12 cannot compile initializer lists in them.

HttpResponse page_response() {
  const std::string nonce = random_id("");
  HttpResponse response;
  response.content_type = "text/html; charset=utf-8";
  response.body = page_html(nonce);
  response.headers.emplace_back("Content-Security-Policy", page_security_policy(nonce));
  response.headers.emplace_back("Referrer-Policy", "no-referrer");
  response.headers.emplace_back("Cache-Control", "no-cache");
  return response;
}

HttpResponse health_response(bool draining, bool loaded) {
  const char* state = draining ? "stopping" : loaded ? "ok" : "loading";
  return json_response({{"status", state}}, loaded && !draining ? 200 : 503);
}

HttpResponse models_response(const ServedModel& model) {
  OrderedJson list = OrderedJson::array();
  list.push_back({{"id", model.name()},
                  {"object", "model"},
                  {"created", model.created()},
                  {"owned_by", "facet"},
                  {"context_length", model.context()},
                  {"chat", model.chat().has_value()},
                  {"thinking", model.chat() && model.chat()->tokens().has_thinking()},
                  {"tools", model.chat() && model.chat()->tokens().has_tools()}});
  return json_response({{"object", "list"}, {"data", std::move(list)}});
}

HttpResponse tokens_response(const std::vector<int32_t>& ids) {
  return json_response({{"tokens", ids}, {"count", ids.size()}});
}

HttpResponse detokenize_response(const ServedModel& model, const HttpRequest& request) {
  const Json json = parse_request(request.body);
  const RequestView tokens = RequestView(json).at("tokens");
  std::vector<int32_t> ids(tokens.array(0, kMaxIds));
  const auto most = static_cast<int64_t>(model.tokenizer().vocab_size()) - 1;
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<int32_t>(tokens.element(i).integer(0, most));
  return json_response({{"content", model.tokenizer().decode(ids)}});
}

}  // namespace

struct Api::Route {
  std::string_view method, path;
  Method serve;
};

/// Runs `work` on the worker thread and gives its result.
template <class Work>
auto Api::on_worker(Work work) {
  using Result = decltype(work());
  return net::co_spawn(
      worker_.get_executor(), [work = std::move(work)]() -> net::awaitable<Result> { co_return work(); },
      net::use_awaitable);
}

const Api::Route* Api::find_route(const HttpRequest& request) {
  static constexpr std::array kRoutes = {
      Route{"GET", "/", &Api::page},
      Route{"GET", "/health", &Api::health},
      Route{"GET", "/metrics", &Api::metrics},
      Route{"GET", "/v1/models", &Api::models},
      Route{"POST", "/tokenize", &Api::tokenize},
      Route{"POST", "/detokenize", &Api::detokenize},
      Route{"POST", "/v1/completions", &Api::completions},
      Route{"POST", "/v1/chat/completions", &Api::chat_completions},
  };
  const auto route =
      std::find_if(kRoutes.begin(), kRoutes.end(), [&](const Route& r) { return r.path == request.path; });
  if (route == kRoutes.end()) return nullptr;
  if (route->method != request.method)
    throw ApiError(405, fmt::format("{}: expected {}", route->path, route->method));
  return &*route;
}

net::awaitable<void> Api::handle(Exchange& exchange) {
  const auto start = std::chrono::steady_clock::now();
  std::string_view name = "other";
  Usage usage;
  HttpResponse refusal;
  int status = 0;
  std::exception_ptr failure;
  try {
    const Route* route = find_route(exchange.request());
    if (route == nullptr) throw ApiError(404, "no such endpoint");
    name = route->path;
    usage = co_await (this->*route->serve)(exchange);
    status = exchange.status();
  } catch (const ApiError& error) {
    status = error.status();
    refusal = error_response(error);
    if (error.status() == 405) refusal.headers.emplace_back("Allow", "GET, HEAD, POST, OPTIONS");
  } catch (const boost::system::system_error&) {
    status = kClientLeft;
    failure = std::current_exception();
  } catch (const std::exception& error) {
    status = 500;
    log_.error("internal_error", failure_fields(name, error.what()));
    refusal = error_response(ApiError(500, "internal error"));
  }
  if (exchange.client_left()) status = kClientLeft;
  ++counts_[{std::string(name), status}];
  log_request(name, status, std::chrono::steady_clock::now() - start, usage);
  if (failure) std::rethrow_exception(failure);
  if (refusal.status != 200 && !exchange.answered()) co_await exchange.respond(std::move(refusal));
}

void Api::log_request(std::string_view route, int status, std::chrono::steady_clock::duration time,
                      const Usage& usage) {
  if (route == "/health" || route == "/metrics") return;  // asked every few seconds
  const double ms = std::chrono::duration<double, std::milli>(time).count();
  OrderedJson fields = {{"route", route}, {"status", status}, {"ms", std::round(ms * 10) / 10}};
  if (usage.prompt_tokens > 0) {
    fields["prompt_tokens"] = usage.prompt_tokens;
    fields["cached_tokens"] = usage.cached_tokens;
    fields["generated_tokens"] = usage.generated_tokens;
  }
  log_.info("request", fields);
}

ServedModel& Api::model() const {
  if (draining_) throw ApiError(503, "the server is stopping");
  if (model_ == nullptr) throw ApiError(503, "the model is loading", {}, "model_loading");
  return *model_;
}

net::awaitable<Usage> Api::page(Exchange& exchange) {
  co_await exchange.respond(page_response());
  co_return Usage{};
}

net::awaitable<Usage> Api::health(Exchange& exchange) {
  co_await exchange.respond(health_response(draining_, model_ != nullptr));
  co_return Usage{};
}

net::awaitable<Usage> Api::metrics(Exchange& exchange) {
  HttpResponse response;
  response.content_type = "text/plain; version=0.0.4; charset=utf-8";
  response.body = metrics_text(model_ != nullptr ? &model_->scheduler() : nullptr, counts_, connections_());
  co_await exchange.respond(std::move(response));
  co_return Usage{};
}

net::awaitable<Usage> Api::models(Exchange& exchange) {
  co_await exchange.respond(models_response(model()));
  co_return Usage{};
}

net::awaitable<Usage> Api::tokenize(Exchange& exchange) {
  ServedModel& served = model();
  const Json json = parse_request(exchange.request().body);
  const RequestView request(json);
  const auto content = request.find("content");
  const std::string text = content ? content->string() : request.at("prompt").string();
  text::EncodeOptions options;
  if (const auto v = request.find("add_special")) options.add_bos = v->boolean();
  if (const auto v = request.find("parse_special")) options.parse_special = v->boolean();
  const text::Tokenizer& tokenizer = served.tokenizer();
  const std::vector<int32_t> ids =
      co_await on_worker([&tokenizer, &text, options] { return tokenizer.encode(text, options); });
  co_await exchange.respond(tokens_response(ids));
  co_return Usage{};
}

net::awaitable<Usage> Api::detokenize(Exchange& exchange) {
  co_await exchange.respond(detokenize_response(model(), exchange.request()));
  co_return Usage{};
}

AnswerOrigin Api::origin(std::string_view id_prefix) const {
  return {random_id(id_prefix), unix_seconds(), model_->name()};
}

net::awaitable<Usage> Api::run(Exchange& exchange, GenerationJob job) {
  ServedModel& served = *model_;
  if (const AnswerFormat format = job.request.format; format != AnswerFormat::kText) {
    if (served.stop_ids().empty())
      throw ApiError(400, "response_format: the model has no token that ends an answer", "response_format");
    const std::string_view body = exchange.request().body;
    job.schema = co_await on_worker([format, body] { return read_answer_schema(format, body); });
    job.vocabulary = co_await on_worker([&served] { return served.token_bytes(); });
  }
  co_return co_await generate(exchange, io_, served, std::move(job), times_);
}

net::awaitable<Usage> Api::completions(Exchange& exchange) {
  ServedModel& served = model();
  const Json json = parse_request(exchange.request().body);
  CompletionRequest request = read_completion_request(RequestView(json), served.defaults());
  const text::Tokenizer& tokenizer = served.tokenizer();
  GenerationJob job;
  for (Prompt& prompt : request.prompts) {
    if (prompt.ids.empty()) {
      const std::string& text = prompt.text;
      prompt.ids = co_await on_worker([&tokenizer, &text] { return tokenizer.encode(text); });
    }
    job.prompts.push_back(std::move(prompt.ids));
  }
  job.request = request.generation;
  const std::vector<std::string> stops = request.generation.stop;
  job.make_reader = [&tokenizer, stops] { return make_text_reader(tokenizer, stops); };
  job.shape = make_completion_shape(origin("cmpl-"), tokenizer, job.request.top_logprobs >= 0,
                                    job.request.stream && job.request.include_usage,
                                    job.prompts.size() * static_cast<size_t>(job.request.choices));
  co_return co_await run(exchange, std::move(job));
}

net::awaitable<Usage> Api::chat_completions(Exchange& exchange) {
  ServedModel& served = model();
  const Json json = parse_request(exchange.request().body);
  ChatRequest request = read_chat_request(RequestView(json), served.defaults());
  if (!served.chat()) throw ApiError(400, "the model has no chat format: use /v1/completions");
  const text::ChatFormat& format = *served.chat();
  const text::Conversation& conversation = request.conversation;
  text::ChatPrompt prompt;
  try {
    prompt = co_await on_worker([&format, &conversation] { return format.render(conversation); });
  } catch (const Error& error) {
    throw ApiError(400, error.what(), "messages");
  }
  GenerationJob job;
  job.prompts.push_back(std::move(prompt.ids));
  job.request = request.generation;
  const text::Tokenizer& tokenizer = served.tokenizer();
  job.make_reader = [&tokenizer, &format, in_thought = prompt.in_thought, stops = request.generation.stop] {
    return make_chat_reader(tokenizer, format.tokens(), in_thought, stops);
  };
  job.shape = make_chat_shape(origin("chatcmpl-"), tokenizer, job.request.top_logprobs >= 0,
                              job.request.stream && job.request.include_usage);
  co_return co_await run(exchange, std::move(job));
}

}  // namespace facet::server
