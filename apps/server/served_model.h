// A loaded model and everything that serving it takes.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "engine/engine.h"
#include "engine/json_mask.h"
#include "engine/scheduler.h"
#include "server/api_request.h"
#include "text/chat_format.h"
#include "text/tokenizer.h"

namespace facet::server {

class ServedModel {
 public:
  /// `name` is what clients see. Throws Error{kBadInput} when the tokenizer does not fit the model.
  ServedModel(std::string name, std::unique_ptr<Engine> engine, text::Tokenizer tokenizer,
              const SchedulerOptions& options);

  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  [[nodiscard]] int64_t created() const noexcept { return created_; }  ///< seconds since 1970
  [[nodiscard]] const text::Tokenizer& tokenizer() const noexcept { return tokenizer_; }
  /// Nothing for a model without chat tokens.
  [[nodiscard]] const std::optional<text::ChatFormat>& chat() const noexcept { return chat_; }
  [[nodiscard]] const RequestDefaults& defaults() const noexcept { return defaults_; }
  [[nodiscard]] const std::vector<int>& stop_ids() const noexcept { return stop_ids_; }
  [[nodiscard]] int context() const noexcept { return engine_->context(); }
  [[nodiscard]] Scheduler& scheduler() noexcept { return *scheduler_; }
  /// The vocabulary in the order that holding an answer to JSON takes; made on first use, by one thread.
  [[nodiscard]] const std::shared_ptr<const TokenBytes>& token_bytes();

 private:
  std::string name_;
  int64_t created_;
  std::unique_ptr<Engine> engine_;
  text::Tokenizer tokenizer_;
  std::optional<text::ChatFormat> chat_;
  RequestDefaults defaults_;
  std::vector<int> stop_ids_;  // that end an answer of either kind
  std::shared_ptr<const TokenBytes> token_bytes_;
  std::unique_ptr<Scheduler> scheduler_;
};

}  // namespace facet::server
