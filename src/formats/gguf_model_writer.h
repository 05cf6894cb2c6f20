// Writing a model as one GGUF file that llama.cpp loads.
#pragma once

#include <cstdint>
#include <filesystem>

#include "formats/checkpoint.h"
#include "formats/weight_rows.h"

namespace facet {

/// How matrices are stored. In kQ4_0 the token embedding and the per-layer tables and projections have 8
/// bits. A matrix whose rows are no whole blocks of 32 is stored as f16, vectors always as f32.
enum class GgufFileType : uint8_t { kF16, kQ8_0, kQ4_0 };

struct GgufWriteOptions {
  GgufFileType type = GgufFileType::kQ8_0;
  int threads = 0;  ///< 0: one a usable core
  WriteProgress progress;
  bool four_bit_embedding = false;  ///< in kQ4_0: the token embedding has 4 bits, too
};

/// Writes `model` with its tokenizer, if it has one, to the new file `path`, which appears whole or not at
/// all. Memory is a few megabytes and the metadata. Throws Error{kFailed} when the file exists, cannot be
/// written or cannot hold the model, Error{kBadInput} when a tensor or the tokenizer is broken.
void write_gguf(const Checkpoint& model, const std::filesystem::path& path, const GgufWriteOptions& options);

}  // namespace facet
