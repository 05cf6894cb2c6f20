// What the server says about itself: one JSON object a line.
#pragma once

#include <cstdio>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string_view>

namespace facet::server {

/// Lines {"time", "level", "event", …} on a stream. Nothing that a client sent is ever logged: no prompt,
/// path, header or key. Any thread.
class EventLog {
 public:
  /// `stream` null: silence.
  explicit EventLog(std::FILE* stream) : stream_(stream) {}
  EventLog(const EventLog&) = delete;
  EventLog& operator=(const EventLog&) = delete;

  void info(std::string_view event, const nlohmann::ordered_json& fields = nlohmann::ordered_json::object());
  void error(std::string_view event, const nlohmann::ordered_json& fields = nlohmann::ordered_json::object());

 private:
  void write(std::string_view level, std::string_view event, const nlohmann::ordered_json& fields);

  std::FILE* stream_;
  std::mutex mutex_;
};

}  // namespace facet::server
