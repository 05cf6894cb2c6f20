// The HTTP server: listens, serves, stops.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <unordered_set>

#include "server/api.h"
#include "server/asio.h"
#include "server/connection.h"
#include "server/event_log.h"
#include "server/served_model.h"

namespace facet::server {

struct ServerOptions {
  std::string host = "127.0.0.1";
  uint16_t port = 8080;  ///< 0: any free one
  AccessOptions access;
  bool insecure = false;  ///< listen beyond this machine without a key
  HttpLimits limits;
  GenerationTimes times;
  std::chrono::milliseconds drain_timeout{30'000};  ///< for answers to end after a request to stop
};

class Server {
 public:
  /// Binds and listens. Throws Error{kUsage} for an address beyond this machine without a key, Error{kFailed}
  /// when the address cannot be had.
  Server(const ServerOptions& options, EventLog& log);
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  [[nodiscard]] uint16_t port() const noexcept { return port_; }

  using Load = std::function<std::unique_ptr<ServedModel>()>;
  /// Serves until stop() or a signal, with the model that `load` returns, which runs in a thread of its own
  /// meanwhile. Rethrows what load throws. SIGTERM and SIGINT let the answers at hand end first, a second one
  /// does not; returns the first one's number, 0 after stop().
  int run(const Load& load);

  /// Stops as SIGTERM does, at once when called again. Any thread.
  void stop();

 private:
  void listen();
  net::awaitable<void> accept();
  void serve(tcp::socket socket);
  void await_signal();
  void on_stop(int signal);
  void begin_drain(int signal);
  void end_drain();
  void stop_when_empty();
  void load_model(const Load& load);

  ServerOptions options_;
  EventLog& log_;
  AccessPolicy access_;
  // Destroyed from the last to the first. A server that was told to stop at once leaves coroutines in the
  // middle of answers. They go with io_ and refer to the model, so the model goes after it.
  std::unique_ptr<ServedModel> model_;
  net::io_context io_{1};
  tcp::acceptor acceptor_{io_};
  net::signal_set signals_{io_};
  net::steady_timer room_{io_};  // expires when a connection has ended
  net::steady_timer drain_{io_};
  uint16_t port_ = 0;
  Api api_;
  ConnectionContext context_;
  std::unordered_set<std::shared_ptr<Connection>> connections_;
  std::thread loader_;
  std::exception_ptr load_failure_;
  int signal_ = 0;
  bool draining_ = false;
};

}  // namespace facet::server
