#include "server/connection.h"

#include <fmt/format.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

namespace facet::server {
namespace {

constexpr size_t kReadBytes = 16 << 10;

/// Completes with an error code instead of an exception.
auto into(error_code& error) {
  return net::redirect_error(net::use_awaitable, error);
}

std::string_view view(beast::string_view text) {
  return {text.data(), text.size()};
}

std::string_view media_type(std::string_view header) {
  header = header.substr(0, header.find(';'));
  while (header.ends_with(' ')) header.remove_suffix(1);
  return header;
}

/// The answer to bytes that are no acceptable request; 0 when there is nobody left to answer.
int status_of(const error_code& error) {
  if (error == http::error::header_limit || error == http::error::buffer_overflow) return 431;
  if (error == http::error::body_limit) return 413;
  if (error == http::error::end_of_stream) return 0;
  if (error.category() == make_error_code(http::error::bad_version).category()) return 400;
  return 0;
}

}  // namespace

/// Notices that the client is gone while an answer is being made.
struct Connection::Watch : std::enable_shared_from_this<Watch> {
  tcp::socket& socket;
  std::function<void()> gone;
  bool active = true;

  Watch(tcp::socket& watched, std::function<void()> callback) : socket(watched), gone(std::move(callback)) {}

  void wait() {
    socket.async_wait(tcp::socket::wait_read, [self = shared_from_this()](const error_code& error) {
      if (!self->active || error == net::error::operation_aborted) return;
      char byte = 0;
      const ssize_t got = error ? 0 : ::recv(self->socket.native_handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
      if (got > 0) return;  // the next request already: a later write will tell
      if (got < 0 && (errno == EAGAIN || errno == EINTR)) return self->wait();
      self->active = false;
      self->gone();
    });
  }
};

Connection::Connection(tcp::socket socket, ConnectionContext& context)
    : stream_(std::move(socket)), buffer_(context.limits.header_bytes + kReadBytes), context_(context) {
  error_code ignored;
  stream_.socket().set_option(tcp::no_delay(true), ignored);
}

net::awaitable<void> Connection::run() {
  const auto self = shared_from_this();
  while (keep_ && co_await serve_one()) {
  }
  error_code ignored;
  stream_.socket().shutdown(tcp::socket::shutdown_both, ignored);
  stream_.close();
}

void Connection::close_if_idle() {
  if (idle_) stream_.close();
}

void Connection::close() {
  stream_.close();
}

/// One request and its answer; false when the connection is to end.
net::awaitable<bool> Connection::serve_one() {
  if (!co_await wait_for_request()) co_return false;
  Parser parser;
  parser.header_limit(static_cast<std::uint32_t>(context_.limits.header_bytes));
  parser.body_limit(context_.limits.body_bytes);
  keep_ = false;
  head_only_ = false;
  allowed_origin_.clear();

  error_code error;
  stream_.expires_after(context_.limits.header_timeout);
  co_await http::async_read_header(stream_, buffer_, parser, into(error));
  HttpResponse refusal;
  bool refused = false;
  if (error) {
    if (status_of(error) == 0) co_return false;
    refusal = error_response(
        ApiError(status_of(error), fmt::format("not an acceptable HTTP request: {}", error.message())));
    refused = true;
  } else {
    version_ = parser.get().version();
    head_only_ = parser.get().method() == http::verb::head;
    try {
      check_head(parser);
    } catch (const ApiError& e) {
      refusal = error_response(e);
      refused = true;
    }
  }
  if (!refused && parser.get().method() == http::verb::options) {
    keep_ = parser.is_done() && parser.keep_alive() && !context_.draining;
    co_await write_preflight();
    co_return keep_;
  }
  if (!refused && !co_await read_body(parser)) co_return false;
  if (refused) {
    co_await write(refusal);
    co_await linger();
    co_return false;
  }

  keep_ = parser.keep_alive() && !context_.draining;
  const std::string_view target = view(parser.get().target());
  HttpRequest request;
  request.method = head_only_ ? "GET" : std::string(view(parser.get().method_string()));
  request.path = target.substr(0, target.find('?'));
  request.body = std::move(parser.get().body());
  Exchange exchange(*this, std::move(request));
  bool failed = false;
  try {
    co_await context_.handler(exchange);
  } catch (const ApiError& e) {
    refusal = error_response(e);
    failed = true;
  } catch (const boost::system::system_error&) {
    keep_ = false;  // the client is gone or does not take what it is sent
  } catch (const std::exception&) {
    refusal = error_response(ApiError(500, "internal error"));
    failed = true;
  }
  stop_watching();
  if (failed && exchange.answered()) keep_ = false;  // the answer is broken off
  if (failed && !exchange.answered()) co_await exchange.respond(std::move(refusal));
  co_return keep_;
}

/// Waits for a request's first bytes, unless they came with the last one.
net::awaitable<bool> Connection::wait_for_request() {
  if (buffer_.size() > 0) co_return true;
  if (context_.draining) co_return false;
  error_code error;
  idle_ = true;
  stream_.expires_after(context_.limits.idle_timeout);
  const size_t got = co_await stream_.async_read_some(buffer_.prepare(kReadBytes), into(error));
  idle_ = false;
  buffer_.commit(got);
  co_return !error;
}

/// Everything that can be told before the body is read.
void Connection::check_head(const Parser& parser) {
  const auto& head = parser.get();
  const auto count = static_cast<size_t>(std::distance(head.begin(), head.end()));
  if (count > context_.limits.headers)
    throw ApiError(431, fmt::format("{} headers: at most {} are accepted", count, context_.limits.headers));
  if (!view(head.target()).starts_with('/')) throw ApiError(400, "the request target is not a path");
  const auto hosts = head.equal_range(http::field::host);
  if (hosts.first == hosts.second || std::next(hosts.first) != hosts.second)
    throw ApiError(400, "exactly one Host header is expected");
  const std::string_view host = view(hosts.first->value());
  if (!context_.access.host_allowed(host))
    throw ApiError(403, "this Host is not served here (see --allow-host)");
  const auto origin = head.find(http::field::origin);
  if (origin != head.end()) {
    if (!context_.access.origin_allowed(view(origin->value()), host))
      throw ApiError(403, "requests from this Origin are not accepted (see --allow-origin)");
    if (context_.access.origin_listed(view(origin->value())))
      allowed_origin_ = std::string(view(origin->value()));
  }
  if (head.method() == http::verb::options) return;  // a preflight carries no key
  const std::string_view path = view(head.target()).substr(0, head.target().find('?'));
  if (path != "/" && path != "/health" &&
      !context_.access.key_accepted(view(head[http::field::authorization])))
    throw ApiError(401, "a valid API key is needed: Authorization: Bearer KEY", {}, "invalid_api_key");
  check_body_headers(parser);
}

void Connection::check_body_headers(const Parser& parser) const {
  const auto& head = parser.get();
  if (parser.content_length() && *parser.content_length() > context_.limits.body_bytes)
    throw ApiError(413, fmt::format("a body of {} bytes: at most {} are accepted", *parser.content_length(),
                                    context_.limits.body_bytes));
  const auto transfer = head.find(http::field::transfer_encoding);
  if (transfer != head.end()) {
    if (head.count(http::field::content_length) != 0)
      throw ApiError(400, "Content-Length and Transfer-Encoding exclude each other");
    if (!beast::iequals(transfer->value(), "chunked"))
      throw ApiError(501, "the only Transfer-Encoding understood is chunked");
  }
  const auto encoding = head.find(http::field::content_encoding);
  if (encoding != head.end() && !beast::iequals(encoding->value(), "identity"))
    throw ApiError(415, "compressed bodies are not accepted");
  if (head.method() != http::verb::post) return;
  const std::string_view type = media_type(view(head[http::field::content_type]));
  if (!beast::iequals(beast::string_view(type.data(), type.size()), "application/json"))
    throw ApiError(415, "Content-Type: expected application/json");
}

/// Reads the body; false when the connection is to end, after an answer if there is somebody to read it.
net::awaitable<bool> Connection::read_body(Parser& parser) {
  error_code error;
  if (!parser.is_done() && beast::iequals(parser.get()[http::field::expect], "100-continue")) {
    http::response<http::empty_body> go_on(http::status::continue_, version_);
    stream_.expires_after(context_.limits.write_timeout);
    co_await http::async_write(stream_, go_on, into(error));
    if (error) co_return false;
  }
  stream_.expires_after(context_.limits.body_timeout);
  if (!parser.is_done()) co_await http::async_read(stream_, buffer_, parser, into(error));
  if (!error) co_return true;
  const int status = error == http::error::partial_message ? 400 : status_of(error);
  if (status != 0) {
    const HttpResponse refusal =
        error_response(ApiError(status, fmt::format("not an acceptable HTTP body: {}", error.message())));
    co_await write(refusal);
    co_await linger();
  }
  co_return false;
}

void Connection::add_common_headers(http::fields& fields) const {
  fields.set(http::field::server, "facet");
  fields.set("X-Content-Type-Options", "nosniff");
  if (allowed_origin_.empty()) return;
  fields.set(http::field::access_control_allow_origin, allowed_origin_);
  fields.set(http::field::vary, "Origin");
}

http::response<http::string_body> Connection::make_response(const HttpResponse& response) const {
  http::response<http::string_body> message(static_cast<http::status>(response.status), version_);
  add_common_headers(message);
  message.set(http::field::content_type, response.content_type);
  for (const auto& [name, value] : response.headers) message.set(name, value);
  message.keep_alive(keep_);
  message.content_length(response.body.size());
  if (!head_only_) message.body() = response.body;
  return message;
}

net::awaitable<void> Connection::write(const HttpResponse& response) {
  http::response<http::string_body> message = make_response(response);
  stream_.expires_after(context_.limits.write_timeout);
  error_code error;
  if (head_only_) {
    http::response_serializer<http::string_body> serializer(message);
    co_await http::async_write_header(stream_, serializer, into(error));
  } else {
    co_await http::async_write(stream_, message, into(error));
  }
  if (error) keep_ = false;
}

net::awaitable<void> Connection::write_preflight() {
  HttpResponse response;
  response.status = 204;
  if (!allowed_origin_.empty()) {
    response.headers.emplace_back("Access-Control-Allow-Methods", "GET, POST, OPTIONS");
    response.headers.emplace_back("Access-Control-Allow-Headers", "Authorization, Content-Type");
    response.headers.emplace_back("Access-Control-Max-Age", "600");
  }
  co_await write(response);
}

/// Takes what a refused client is still sending, within bounds: closing at once would reset the connection
/// and the answer with it.
net::awaitable<void> Connection::linger() {
  constexpr size_t kMost = size_t{8} << 20;
  error_code error;
  stream_.socket().shutdown(tcp::socket::shutdown_send, error);
  stream_.expires_after(std::chrono::seconds(2));
  std::string discarded(kReadBytes, '\0');
  for (size_t taken = 0; !error && taken < kMost;) {
    const net::mutable_buffer into_discarded = net::buffer(discarded);
    taken += co_await stream_.async_read_some(into_discarded, into(error));
  }
}

void Connection::watch(std::function<void()> gone) {
  stop_watching();
  if (buffer_.size() > 0) return;  // another request is here already
  watch_ = std::make_shared<Watch>(stream_.socket(), std::move(gone));
  watch_->wait();
}

void Connection::stop_watching() {
  if (!watch_) return;
  watch_->active = false;
  watch_.reset();
  error_code ignored;
  stream_.socket().cancel(ignored);
}

net::awaitable<void> Exchange::respond(HttpResponse response) {
  connection_.stop_watching();
  status_ = response.status;
  co_await connection_.write(response);
}

net::awaitable<void> Exchange::start_events() {
  status_ = 200;
  http::response<http::empty_body> head(http::status::ok, connection_.version_);
  connection_.add_common_headers(head);
  head.set(http::field::content_type, "text/event-stream; charset=utf-8");
  head.set(http::field::cache_control, "no-cache");
  head.set("X-Accel-Buffering", "no");  // a proxy must not collect events
  if (connection_.version_ < 11) connection_.keep_ = false;
  head.keep_alive(connection_.keep_);
  head.chunked(connection_.version_ >= 11);
  http::response_serializer<http::empty_body> serializer(head);
  connection_.stream_.expires_after(connection_.context_.limits.write_timeout);
  co_await http::async_write_header(connection_.stream_, serializer, net::use_awaitable);
}

net::awaitable<void> Exchange::send_events(std::string text) {
  connection_.stream_.expires_after(connection_.context_.limits.write_timeout);
  const net::const_buffer data = net::buffer(text);
  if (connection_.version_ >= 11) {
    co_await net::async_write(connection_.stream_, http::make_chunk(data), net::use_awaitable);
  } else {
    co_await net::async_write(connection_.stream_, data, net::use_awaitable);
  }
}

net::awaitable<void> Exchange::end_events() {
  connection_.stop_watching();
  connection_.stream_.expires_after(connection_.context_.limits.write_timeout);
  if (connection_.version_ >= 11)
    co_await net::async_write(connection_.stream_, http::make_chunk_last(), net::use_awaitable);
}

void Exchange::on_disconnect(std::function<void()> gone) {
  connection_.watch([left = client_left_, gone = std::move(gone)] {
    *left = true;
    gone();
  });
}

}  // namespace facet::server
