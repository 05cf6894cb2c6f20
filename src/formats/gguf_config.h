// GGUF metadata → ModelSpec.
#pragma once

#include "formats/generation_config.h"
#include "formats/gguf.h"
#include "model/spec.h"

namespace facet {

/// Reads a Gemma 4 or Gemma 3 text model's description out of the metadata and the tensors' shapes; the only
/// data read is rope_freqs.weight. Validated. Throws Error{kBadInput} that names the key.
/// Source: llama.cpp's conversion of both families and their loaders (src/models/gemma{3,4}.cpp).
[[nodiscard]] ModelSpec gguf_model_spec(const GgufFile& file);

/// general.sampling.{temp, top_k, top_p} and the ids that end an answer.
[[nodiscard]] GenerationConfig gguf_generation_config(const GgufFile& file);

/// The encoding that most of the file's bytes are in ("q4_k"): what people call the file.
[[nodiscard]] std::string_view gguf_main_encoding(const GgufFile& file);

}  // namespace facet
