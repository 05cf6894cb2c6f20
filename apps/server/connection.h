// One client's connection: HTTP/1.1 under limits.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "server/access_policy.h"
#include "server/asio.h"
#include "server/http_message.h"

namespace facet::server {

class Connection;

/// One request and the answer to it. Used on the I/O thread alone.
class Exchange {
 public:
  Exchange(Connection& connection, HttpRequest request)
      : connection_(connection), request_(std::move(request)) {}
  Exchange(const Exchange&) = delete;
  Exchange& operator=(const Exchange&) = delete;

  [[nodiscard]] const HttpRequest& request() const noexcept { return request_; }

  /// Sends a whole answer.
  net::awaitable<void> respond(HttpResponse response);

  /// Starts an answer of server-sent events, sends text of it, and ends it.
  net::awaitable<void> start_events();
  net::awaitable<void> send_events(std::string text);
  net::awaitable<void> end_events();

  /// Calls `gone` once when the client closes the connection; until the answer has ended.
  void on_disconnect(std::function<void()> gone);

  /// Whether an answer has begun, so that an error can no longer become one.
  [[nodiscard]] bool answered() const noexcept { return status_ != 0; }
  [[nodiscard]] int status() const noexcept { return status_; }
  /// Whether the client has been seen to leave.
  [[nodiscard]] bool client_left() const noexcept { return *client_left_; }

 private:
  friend class Connection;
  Connection& connection_;
  HttpRequest request_;
  int status_ = 0;
  std::shared_ptr<bool> client_left_ = std::make_shared<bool>(false);
};

/// Serves the requests that get through the limits and the access policy. Anything thrown that is not an
/// ApiError becomes a 500 without its text.
using Handler = std::function<net::awaitable<void>(Exchange&)>;

/// What all connections have in common; outlives them.
struct ConnectionContext {
  const HttpLimits& limits;
  const AccessPolicy& access;
  Handler handler;
  bool draining = false;  ///< no connection is kept for another request
};

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(tcp::socket socket, ConnectionContext& context);

  /// Serves requests until the connection ends.
  net::awaitable<void> run();
  /// Ends the connection at once when it is between two requests.
  void close_if_idle();
  /// Ends the connection at once.
  void close();

 private:
  friend class Exchange;
  using Parser = http::request_parser<http::string_body>;
  struct Watch;

  net::awaitable<bool> serve_one();
  net::awaitable<bool> wait_for_request();
  net::awaitable<bool> read_body(Parser& parser);
  void check_head(const Parser& parser);
  void check_body_headers(const Parser& parser) const;
  [[nodiscard]] http::response<http::string_body> make_response(const HttpResponse& response) const;
  void add_common_headers(http::fields& fields) const;
  net::awaitable<void> write(const HttpResponse& response);
  net::awaitable<void> write_preflight();
  net::awaitable<void> linger();
  void watch(std::function<void()> gone);
  void stop_watching();

  beast::tcp_stream stream_;
  beast::flat_buffer buffer_;
  ConnectionContext& context_;
  std::shared_ptr<Watch> watch_;
  std::string allowed_origin_;  // of the request at hand, when it is elsewhere and allowed
  bool idle_ = false;
  bool keep_ = true;        // for another request
  bool head_only_ = false;  // the request at hand is a HEAD
  unsigned version_ = 11;   // of the request at hand
};

}  // namespace facet::server
