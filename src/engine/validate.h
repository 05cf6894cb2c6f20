// Holding a backend to a reference, activation by activation.
#pragma once

#include <string>
#include <vector>

#include "engine/engine.h"
#include "engine/trace.h"

namespace facet {

struct TensorResult {
  std::string name;
  double rel_rms = 0;  ///< ‖out − ref‖ / ‖ref‖
  double max_abs = 0;  ///< max |out − ref|
  double tolerance = 0;
  bool pass = false;
};

struct ValidationResult {
  bool pass = false;
  std::string backend;
  std::vector<TensorResult> tensors;
  std::vector<std::string> missing;       ///< must be there, but the trace or the backend does not have it
  std::vector<std::string> not_compared;  ///< inner tensors that the backend's fused kernels hide
  int token_mismatches = 0;               ///< of the free run
  double free_logits_rel_rms = 0;         ///< of the free run's logits: errors of all layers, compounded
  bool fast_prefill_match = false;  ///< the shortened prefill gives the last token the full path's logits
};

/// Runs the trace's tokens through all layers of `engine` twice and compares.
///
/// First with each layer started from the reference's own input (the trace's output of the layer before):
/// what `tensors` reports are then errors of one module each, by relative RMS within 1e-5 on the reference
/// backend; 1e-2 on cpu; on cuda 1.5e-2 in layers that own K and V, 2.5e-2 in the others. Errors of a free
/// run compound: Gemma 4's attention is unscaled, which multiplies the rounding noise of its input by about
/// five a layer in a random model, and transformers itself, run on two machines, differs by 2e-4 after six
/// such layers.
///
/// Then free. Its logits must agree on the tokens: a mismatch is a row whose likeliest token differs although
/// the reference's lead over its second choice is more than twice the largest logit error.
///
/// Throws Error{kBadInput} when the trace cannot be of this model (token ids, widths) and Error{kFailed} when
/// its tokens do not fit the context.
[[nodiscard]] ValidationResult validate_trace(Engine& engine, const Trace& trace);

}  // namespace facet
