// Metrics in Prometheus's text format.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <utility>

#include "engine/scheduler.h"

namespace facet::server {

/// Answered requests by (route, status).
using RequestCounts = std::map<std::pair<std::string, int>, uint64_t>;

/// `scheduler` null: the model is still loading. (Format: Prometheus' text-based exposition, version 0.0.4.)
[[nodiscard]] std::string metrics_text(const Scheduler* scheduler, const RequestCounts& requests,
                                       size_t connections);

}  // namespace facet::server
