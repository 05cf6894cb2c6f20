// Activations by name: read from a file that another implementation made, or recorded from a run.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "formats/safetensors.h"

namespace facet {

/// One activation, all tokens: [tokens, width].
struct Activation {
  int64_t width = 0;
  std::vector<float> values;
  std::vector<std::string> derived_from;  ///< when not empty: names whose sum it is compared with
};

/// A reference: which tokens went in, and what every module gave. Names are Hugging Face module paths.
struct Trace {
  std::vector<int32_t> input_ids;
  std::map<std::string, Activation> activations;
};

/// Reads Facet's own layout or lalamo's, told apart by their names. Throws Error{kBadInput} for a file that
/// is neither, lacks the tokens, or holds a tensor of a wrong type, with a wrong number of rows, or with a
/// NaN.
[[nodiscard]] Trace read_trace(const std::filesystem::path& path);
[[nodiscard]] Trace read_trace(const SafetensorsFile& file);

/// Collects what a backend shows, in pieces of any number of rows. With a reference, every layer starts from
/// the reference's own input instead of what the layers before it made, so that an error is the layer's own.
class TraceRecorder final : public ActivationTap {
 public:
  explicit TraceRecorder(const Trace* reference = nullptr) : reference_(reference) {}

  void record(const std::string& name, std::span<const float> values, int64_t rows, int64_t width) override;
  [[nodiscard]] std::span<const float> anchor(const std::string& name) override;
  [[nodiscard]] const std::map<std::string, Activation>& activations() const noexcept { return activations_; }

 private:
  const Trace* reference_;
  size_t last_size_ = 0;  // floats of the last record()
  std::map<std::string, Activation> activations_;
};

}  // namespace facet
