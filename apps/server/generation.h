// The life of a completion request, from its prompts to the last event.
#pragma once

#include <chrono>
#include <functional>
#include <vector>

#include "server/api_request.h"
#include "server/connection.h"
#include "server/response_shape.h"
#include "server/served_model.h"

namespace facet::server {

struct GenerationJob {
  std::vector<std::vector<int32_t>> prompts;
  GenerationRequest request;
  std::function<std::unique_ptr<AnswerReader>()> make_reader;
  std::unique_ptr<ResponseShape> shape;
  std::shared_ptr<const TokenBytes> vocabulary;    ///< with a schema
  std::shared_ptr<const text::JsonSchema> schema;  ///< that the answer follows; null: any text
};

struct GenerationTimes {
  std::chrono::milliseconds request{600'000};  ///< then the answer ends where it is
  std::chrono::milliseconds ping{10'000};      ///< between comments while a stream has nothing to say
};

/// Runs the job and answers `exchange`, whole or as a stream. Requests are cancelled when the client leaves.
/// Returns the usage. Throws ApiError while there has been no answer: 400 for a prompt that does not fit, 429
/// when the queue is full, 500 when the model fails, 503 when the server stops.
net::awaitable<Usage> generate(Exchange& exchange, net::io_context& io, ServedModel& model, GenerationJob job,
                               GenerationTimes times);

}  // namespace facet::server
