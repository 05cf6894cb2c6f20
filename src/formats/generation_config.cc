#include "formats/generation_config.h"

#include "formats/hf_config.h"

namespace facet {

GenerationConfig read_generation_config(const JsonView& config) {
  GenerationConfig generation;
  if (const auto temperature = config.find("temperature")) {
    generation.temperature = temperature->number();
    if (*generation.temperature < 0) throw temperature->unexpected("a number of at least 0");
  }
  if (const auto top_k = config.find("top_k")) generation.top_k = top_k->integer();
  if (const auto top_p = config.find("top_p")) {
    generation.top_p = top_p->positive_number();
    if (*generation.top_p > 1) throw top_p->unexpected("a number above 0, at most 1");
  }
  generation.eos_ids = token_id_list(config, "eos_token_id");
  return generation;
}

}  // namespace facet
