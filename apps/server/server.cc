#include "server/server.h"

#include <fmt/format.h>

#include <csignal>

#include "base/error.h"

namespace facet::server {

Server::Server(const ServerOptions& options, EventLog& log)
    : options_(options),
      log_(log),
      access_(options.access),
      api_(io_, log, options.times, [this] { return connections_.size(); }),
      context_{options_.limits, access_, [this](Exchange& exchange) { return api_.handle(exchange); }} {
  if (!is_loopback(options_.host) && options_.access.api_key.empty() && !options_.insecure)
    throw Error(ErrorCode::kUsage,
                fmt::format("--host {}: reached from elsewhere, the server needs --api-key (or --insecure)",
                            options_.host));
  listen();
}

Server::~Server() {
  if (loader_.joinable()) loader_.join();
  if (model_) model_->scheduler().stop();  // its sinks post to io_, which goes before the model
  connections_.clear();
}

void Server::listen() {
  error_code error;
  tcp::resolver resolver(io_);
  const auto found = resolver.resolve(options_.host, std::to_string(options_.port),
                                      tcp::resolver::passive | tcp::resolver::numeric_service, error);
  if (error || found.empty())
    throw Error(ErrorCode::kFailed, fmt::format("--host {}: {}", options_.host, error.message()));
  const tcp::endpoint endpoint = found.begin()->endpoint();
  acceptor_.open(endpoint.protocol(), error);
  if (!error) acceptor_.set_option(tcp::acceptor::reuse_address(true), error);
  if (!error) acceptor_.bind(endpoint, error);
  if (!error) acceptor_.listen(net::socket_base::max_listen_connections, error);
  if (error)
    throw Error(ErrorCode::kFailed, fmt::format("cannot listen on {} port {}: {}", options_.host,
                                                options_.port, error.message()));
  port_ = acceptor_.local_endpoint().port();
}

int Server::run(const Load& load) {
  signals_.add(SIGINT);
  signals_.add(SIGTERM);
  await_signal();
  net::co_spawn(io_, accept(), net::detached);
  loader_ = std::thread([this, &load] { load_model(load); });
  const auto work = net::make_work_guard(io_);
  io_.run();
  loader_.join();
  signals_.clear();
  if (load_failure_) std::rethrow_exception(load_failure_);
  return signal_;
}

void Server::load_model(const Load& load) {
  std::unique_ptr<ServedModel> loaded;
  std::exception_ptr failure;
  try {
    loaded = load();
  } catch (...) {
    failure = std::current_exception();
  }
  // The I/O thread takes over; a shared_ptr because a handler must be copyable.
  const auto handed = std::make_shared<std::unique_ptr<ServedModel>>(std::move(loaded));
  net::post(io_, [this, handed, failure] {
    load_failure_ = failure;
    if (failure) return io_.stop();
    model_ = std::move(*handed);
    api_.set_model(model_.get());
    log_.info("ready", {{"model", model_->name()}, {"context", model_->context()}});
  });
}

net::awaitable<void> Server::accept() {
  while (acceptor_.is_open()) {
    error_code error;
    if (connections_.size() >= options_.limits.connections) {
      room_.expires_at(std::chrono::steady_clock::time_point::max());
      co_await room_.async_wait(net::redirect_error(net::use_awaitable, error));
      continue;
    }
    tcp::socket socket = co_await acceptor_.async_accept(net::redirect_error(net::use_awaitable, error));
    if (!error) {
      serve(std::move(socket));
    } else if (acceptor_.is_open()) {
      // Out of descriptors, most likely: let some connections end.
      log_.error("accept_failed", {{"error", error.message()}});
      room_.expires_after(std::chrono::milliseconds(100));
      co_await room_.async_wait(net::redirect_error(net::use_awaitable, error));
    }
  }
}

void Server::serve(tcp::socket socket) {
  const auto connection = std::make_shared<Connection>(std::move(socket), context_);
  connections_.insert(connection);
  net::co_spawn(io_, connection->run(), [this, connection](const std::exception_ptr& failure) {
    if (failure) log_.error("connection_failed");
    connection->close();
    connections_.erase(connection);
    room_.cancel();
    stop_when_empty();
  });
}

void Server::await_signal() {
  signals_.async_wait([this](const error_code& error, int signal) {
    if (error) return;
    on_stop(signal);
    await_signal();
  });
}

void Server::stop() {
  net::post(io_, [this] { on_stop(0); });
}

void Server::on_stop(int signal) {
  draining_ ? io_.stop() : begin_drain(signal);
}

void Server::begin_drain(int signal) {
  draining_ = true;
  signal_ = signal;
  log_.info("stopping", {{"connections", connections_.size()}});
  error_code ignored;
  acceptor_.close(ignored);
  context_.draining = true;
  api_.set_draining();
  if (model_) model_->scheduler().close();
  for (const auto& connection : connections_) connection->close_if_idle();
  drain_.expires_after(options_.drain_timeout);
  drain_.async_wait([this](const error_code& error) {
    if (!error) end_drain();
  });
  stop_when_empty();
}

/// Breaks off what has not ended in time.
void Server::end_drain() {
  log_.info("breaking_off", {{"connections", connections_.size()}});
  if (model_) model_->scheduler().cancel_all();
  drain_.expires_after(std::chrono::seconds(2));  // for the last events to be sent
  drain_.async_wait([this](const error_code& error) {
    if (!error) io_.stop();
  });
}

void Server::stop_when_empty() {
  if (!draining_ || !connections_.empty()) return;
  log_.info("stopped");
  io_.stop();
}

}  // namespace facet::server
