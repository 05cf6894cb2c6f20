// A server in this process, with a tiny model of random weights.
#pragma once

#include <gtest/gtest.h>

#include <cstdio>
#include <future>
#include <memory>
#include <string>
#include <thread>

#include "server/server.h"
#include "support/http_client.h"
#include "support/tiny_model.h"
#include "support/tiny_tokenizer.h"

namespace facet::testing {

struct RunningServerOptions {
  server::ServerOptions server;
  SchedulerOptions scheduler;
  int parallel = 4;
  int context = 512;
  int prefix_blocks = 64;
  std::shared_future<void> load_after;  ///< hold the model back until then
};

class RunningServer {
 public:
  explicit RunningServer(RunningServerOptions options = {}) : options_(std::move(options)) {
    options_.server.port = 0;
    log_file_ = std::tmpfile();
    log_ = std::make_unique<server::EventLog>(log_file_);
    server_ = std::make_unique<server::Server>(options_.server, *log_);
    port_ = server_->port();
    thread_ = std::thread([this] { server_->run([this] { return load(); }); });
    if (!options_.load_after.valid()) wait_until_ready();
  }

  ~RunningServer() {
    stop();
    std::fclose(log_file_);
  }

  RunningServer(const RunningServer&) = delete;
  RunningServer& operator=(const RunningServer&) = delete;

  [[nodiscard]] uint16_t port() const { return port_; }

  void begin_stop() { server_->stop(); }
  /// Waits until the server has stopped.
  void stop() {
    if (!thread_.joinable()) return;
    server_->stop();
    thread_.join();
    server_.reset();
  }

  void wait_until_ready() const {
    for (int i = 0; i < 2000; ++i) {
      if (request(port_, "GET", "/health").status == 200) return;
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    FAIL() << "the server does not become ready";
  }

  /// The value of a metric; −1 when there is none of that name.
  [[nodiscard]] double metric(const std::string& name) const {
    const std::string text = request(port_, "GET", "/metrics", {}, authorization()).body;
    const size_t at = text.find("\n" + name + " ");
    return at == std::string::npos ? -1 : std::stod(text.substr(at + name.size() + 2));
  }

  /// Waits until a metric has a value; false after some seconds.
  [[nodiscard]] bool wait_for_metric(const std::string& name, double value) const {
    for (int i = 0; i < 1000; ++i) {
      if (metric(name) == value) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return false;
  }

  /// What has been logged so far.
  [[nodiscard]] std::string log() const {
    std::fflush(log_file_);
    std::string text(static_cast<size_t>(std::ftell(log_file_)), '\0');
    std::rewind(log_file_);
    text.resize(std::fread(text.data(), 1, text.size(), log_file_));
    return text;
  }

  [[nodiscard]] HttpReply post(const std::string& path, const nlohmann::json& body) const {
    return request(port_, "POST", path, body.dump(), authorization());
  }

 private:
  [[nodiscard]] HttpClient::Headers authorization() const {
    const std::string& key = options_.server.access.api_key;
    return key.empty() ? HttpClient::Headers{} : HttpClient::Headers{{"Authorization", "Bearer " + key}};
  }

  [[nodiscard]] std::unique_ptr<server::ServedModel> load() const {
    if (options_.load_after.valid()) options_.load_after.wait();
    TinyShape shape;
    shape.vocab = 896;
    shape.context = options_.context;
    Checkpoint checkpoint = tiny_checkpoint(shape, 7);
    EngineOptions engine;
    engine.backend = "reference";
    engine.context = options_.context;
    engine.sequences = options_.parallel;
    engine.prefix_bytes = options_.prefix_blocks * KvCache::block_bytes(checkpoint.spec, KvType::kF32);
    return std::make_unique<server::ServedModel>("tiny",
                                                 std::make_unique<Engine>(std::move(checkpoint), engine),
                                                 tiny_tokenizer(), options_.scheduler);
  }

  RunningServerOptions options_;
  std::FILE* log_file_ = nullptr;
  std::unique_ptr<server::EventLog> log_;
  std::unique_ptr<server::Server> server_;
  uint16_t port_ = 0;
  std::thread thread_;
};

}  // namespace facet::testing
