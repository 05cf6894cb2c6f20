#include "engine/validate.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string_view>

#include "base/error.h"

namespace facet {
namespace {

struct Tolerances {
  double owning;
  double shared;
};

Tolerances tolerances(std::string_view backend) noexcept {
  if (backend == "reference") return {1e-5, 1e-5};
  if (backend == "cuda") return {1.5e-2, 2.5e-2};
  return {1e-2, 1e-2};
}

/// The layer that an activation belongs to; what stands before the layers counts as the first, what comes
/// after as the last.
int layer_of(std::string_view name, int layers) {
  constexpr std::string_view kPrefix = "model.layers.";
  if (name.starts_with(kPrefix)) {
    name.remove_prefix(kPrefix.size());
    const std::string digits(name.substr(0, std::min<size_t>(name.find('.'), 5)));
    if (!digits.empty() && digits.find_first_not_of("0123456789") == std::string::npos)
      return std::min(std::stoi(digits), layers - 1);
  }
  return name == "model.norm" || name == "logits" ? layers - 1 : 0;
}

/// Whether every backend must show this activation, fused or not (interface of `facet validate`).
bool always_shown(std::string_view name) {
  constexpr std::string_view kPrefix = "model.layers.";
  if (!name.starts_with(kPrefix)) return !name.starts_with("model.per_layer_");
  name.remove_prefix(kPrefix.size());
  const size_t dot = name.find('.');
  return dot == std::string_view::npos || name.substr(dot) == ".self_attn" || name.substr(dot) == ".mlp";
}

TensorResult compare(const std::string& name, const std::vector<float>& out, const std::vector<float>& ref,
                     double tolerance) {
  double error = 0;
  double norm = 0;
  double worst = 0;
  for (size_t i = 0; i < ref.size(); ++i) {
    const double d = static_cast<double>(out[i]) - static_cast<double>(ref[i]);
    error += d * d;
    norm += static_cast<double>(ref[i]) * static_cast<double>(ref[i]);
    worst = std::isnan(d) ? d : std::max(worst, std::fabs(d));
  }
  TensorResult r{name, norm > 0 ? std::sqrt(error / norm) : std::sqrt(error), worst, tolerance, false};
  r.pass = r.rel_rms <= tolerance;  // false for NaN
  return r;
}

int count_token_mismatches(const Activation& out, const Activation& ref) {
  const auto vocab = static_cast<size_t>(ref.width);
  double worst = 0;
  for (size_t i = 0; i < ref.values.size(); ++i)
    worst =
        std::max(worst, std::fabs(static_cast<double>(out.values[i]) - static_cast<double>(ref.values[i])));
  int mismatches = 0;
  for (size_t row = 0; row + vocab <= ref.values.size(); row += vocab) {
    const float* r = ref.values.data() + row;
    const float* o = out.values.data() + row;
    const auto best = static_cast<size_t>(std::max_element(r, r + vocab) - r);
    if (static_cast<size_t>(std::max_element(o, o + vocab) - o) == best) continue;
    float second = -INFINITY;
    for (size_t i = 0; i < vocab; ++i)
      if (i != best) second = std::max(second, r[i]);
    // NaN in `out` makes `worst` meaningless but cannot make it small: max_element then differs and counts.
    if (std::isnan(o[best]) || static_cast<double>(r[best] - second) > 2 * worst) ++mismatches;
  }
  return mismatches;
}

/// Keeps the logits alone.
struct LogitsRecorder final : ActivationTap {
  std::vector<float> values;
  void record(const std::string& name, std::span<const float> logits, int64_t /*rows*/,
              int64_t /*width*/) override {
    if (name == "logits") values.insert(values.end(), logits.begin(), logits.end());
  }
};

/// All tokens through all layers, in chunks, with everything recorded; logits too.
void record_full_path(Engine& engine, const std::vector<int32_t>& ids, ActivationTap& recorder) {
  const int sequence = engine.cache().open();
  engine.backend().set_tap(&recorder);
  const auto chunk = static_cast<size_t>(engine.cache().options().chunk);
  for (size_t begin = 0; begin < ids.size(); begin += chunk) {
    const std::span<const int32_t> tokens(ids.data() + begin, std::min(chunk, ids.size() - begin));
    engine.step({sequence, tokens, Want::kAll}, /*whole=*/true);
    for (int i = 0; i < engine.outputs(); i += engine.max_logit_rows())
      (void)engine.logits(i, std::min(engine.max_logit_rows(), engine.outputs() - i));
  }
  engine.backend().set_tap(nullptr);
  engine.cache().close(sequence);
}

/// The same tokens as a prompt: only the last one's logits are asked for.
std::vector<float> fast_prefill_logits(Engine& engine, const std::vector<int32_t>& ids) {
  const int sequence = engine.cache().open();
  const auto chunk = static_cast<size_t>(engine.cache().options().chunk);
  for (size_t begin = 0; begin < ids.size(); begin += chunk) {
    const size_t count = std::min(chunk, ids.size() - begin);
    const bool last = begin + count == ids.size();
    engine.step({sequence, {ids.data() + begin, count}, last ? Want::kLast : Want::kNothing});
  }
  engine.cache().close(sequence);
  const auto logits = engine.logits(0);
  return {logits.begin(), logits.end()};
}

/// The recorded counterpart of a reference activation: by name, or as the sum it is derived from.
std::optional<Activation> counterpart(const TraceRecorder& recorder, const std::string& name,
                                      const Activation& ref) {
  const auto& recorded = recorder.activations();
  if (ref.derived_from.empty()) {
    const auto found = recorded.find(name);
    if (found == recorded.end()) return std::nullopt;
    return found->second;
  }
  std::optional<Activation> sum;
  for (const std::string& part : ref.derived_from) {
    const auto found = recorded.find(part);
    if (found == recorded.end()) return std::nullopt;
    if (!sum) {
      sum = found->second;
      continue;
    }
    for (size_t i = 0; i < sum->values.size(); ++i) sum->values[i] += found->second.values[i];
  }
  return sum;
}

void check_tokens(const Engine& engine, const Trace& trace) {
  const int vocab = engine.spec().vocab_size;
  for (const int32_t id : trace.input_ids)
    if (id >= vocab)
      throw bad_input(
          fmt::format("trace: token id {}: the model's vocabulary has {}: is the trace of another "
                      "model?",
                      id, vocab));
}

}  // namespace

ValidationResult validate_trace(Engine& engine, const Trace& trace) {
  check_tokens(engine, trace);
  ValidationResult result;
  result.backend = engine.backend().name();
  const Tolerances tolerance = tolerances(result.backend);
  const ModelSpec& spec = engine.spec();
  const int layers = spec.layer_count();
  const auto tolerance_of = [&](const std::string& name) {
    return spec.owns_kv(layer_of(name, layers)) ? tolerance.owning : tolerance.shared;
  };

  TraceRecorder recorder(&trace);
  record_full_path(engine, trace.input_ids, recorder);

  for (const auto& [name, ref] : trace.activations) {
    const auto out = counterpart(recorder, name, ref);
    if (!out) {
      const bool must = result.backend == "reference" || always_shown(name);
      (must ? result.missing : result.not_compared).push_back(name);
      continue;
    }
    if (out->values.size() != ref.values.size())
      throw bad_input(fmt::format("trace: {}: expected width {}, got {}: is the trace of another model?",
                                  name, out->width, ref.width));
    result.tensors.push_back(compare(name, out->values, ref.values, tolerance_of(name)));
  }
  // A reference without these proves nothing.
  for (int l = 0; l <= layers; ++l) {
    const std::string name = l < layers ? fmt::format("model.layers.{}", l) : "logits";
    if (!trace.activations.contains(name) &&
        std::find(result.missing.begin(), result.missing.end(), name) == result.missing.end())
      result.missing.push_back(name);
  }

  LogitsRecorder free_run;
  record_full_path(engine, trace.input_ids, free_run);
  const Activation full{spec.vocab_size, std::move(free_run.values), {}};
  if (const auto ref = trace.activations.find("logits"); ref != trace.activations.end()) {
    result.token_mismatches = count_token_mismatches(full, ref->second);
    result.free_logits_rel_rms = compare("logits", full.values, ref->second.values, 0).rel_rms;
  }
  const auto fast = fast_prefill_logits(engine, trace.input_ids);
  const std::vector<float> last(full.values.end() - full.width, full.values.end());
  result.fast_prefill_match = compare("fast prefill", fast, last, tolerance_of("logits")).pass;

  result.pass =
      result.missing.empty() && result.token_mismatches == 0 && result.fast_prefill_match &&
      std::all_of(result.tensors.begin(), result.tensors.end(), [](const auto& t) { return t.pass; });
  return result;
}

}  // namespace facet
