#include "server/event_log.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <chrono>

namespace facet::server {
namespace {

/// 2026-01-31T12:34:56.789Z
std::string timestamp() {
  const auto now = std::chrono::system_clock::now();
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(now.time_since_epoch()).count();
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:03}Z", fmt::gmtime(static_cast<std::time_t>(ms / 1000)),
                     ms % 1000);
}

}  // namespace

void EventLog::info(std::string_view event, const nlohmann::ordered_json& fields) {
  write("info", event, fields);
}
void EventLog::error(std::string_view event, const nlohmann::ordered_json& fields) {
  write("error", event, fields);
}

void EventLog::write(std::string_view level, std::string_view event, const nlohmann::ordered_json& fields) {
  if (stream_ == nullptr) return;
  nlohmann::ordered_json line = {{"time", timestamp()}, {"level", level}, {"event", event}};
  line.update(fields);
  const std::string text = line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
  const std::lock_guard lock(mutex_);
  std::fwrite(text.data(), 1, text.size(), stream_);
  std::fflush(stream_);
}

}  // namespace facet::server
