// Writing a model in MLX's layout: Hugging Face's files with affine-quantized matrices.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "formats/checkpoint.h"
#include "formats/weight_rows.h"
#include "quant/affine.h"

namespace facet {

/// What a matrix was multiplied with, over a calibration text.
struct InputMoments {
  std::vector<float> energy;   ///< mean of x[i]², [cols]
  std::vector<float> moments;  ///< mean of x[i]·x[j] for j ≥ i, [cols, cols]; or empty: too large to keep
};

/// By the matrix's name (WeightSource).
using Calibration = std::map<std::string, InputMoments, std::less<>>;

/// Bits are 4, 8, or 16: bf16, not quantized.
struct MlxWriteOptions {
  int bits = 4;
  int group_size = 64;  ///< 32, 64 or 128; a matrix whose rows it does not divide gets a smaller one, or bf16
  int ple_bits = 8;     ///< of the per-layer table, projections and gates
  int head_bits = 4;    ///< of the token embedding, which is the head
  AffineMethod method = AffineMethod::kNearest;
  Calibration calibration;  ///< for the search; a matrix without an entry is searched without weights
  int threads = 0;          ///< 0: one a usable core
  WriteProgress progress;
};

/// Throws Error{kFailed} for a model that write_mlx cannot write: a mixture of experts.
void check_mlx_holds(const Checkpoint& model);

/// Writes config.json, model.safetensors, the tokenizer and the generation config of `model` to the new
/// directory `directory`, which appears whole or not at all. Memory, beside the
/// calibration, is a few megabytes and the scales of one matrix. Throws Error{kFailed} when the directory
/// exists, cannot be written or cannot hold the model (a mixture of experts), Error{kBadInput} when a tensor
/// is broken or missing.
void write_mlx(const Checkpoint& model, const std::filesystem::path& directory,
               const MlxWriteOptions& options);

}  // namespace facet
