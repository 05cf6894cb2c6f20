#include "formats/hf_config.h"

#include "base/error.h"
#include "formats/hf_text.h"

namespace facet {
namespace {

void refuse_untied_head(const JsonView& section) {
  if (!section.boolean_or("tie_word_embeddings", true))
    throw section.at("tie_word_embeddings").unexpected("true (a head of its own is not supported)");
}

}  // namespace

std::vector<int> token_id_list(const JsonView& object, std::string_view key) {
  const auto found = object.find(key);
  if (!found) return {};
  if (!found->is_array()) return {found->integer()};
  std::vector<int> ids;
  for (size_t i = 0; i < found->array_size(); ++i) ids.push_back(found->at(i).integer());
  return ids;
}

ModelSpec hf_model_spec(const JsonView& config) {
  const JsonView type = config.at("model_type");
  const std::string& name = type.string();
  const bool gemma3 = name == "gemma3" || name == "gemma3_text";
  const bool wrapper = name == "gemma3" || name == "gemma4";
  if (!gemma3 && !wrapper && name != "gemma4_text")
    throw type.unexpected("\"gemma4\", \"gemma4_text\", \"gemma3\" or \"gemma3_text\"");
  const JsonView text = wrapper ? config.at("text_config") : config;
  refuse_untied_head(config);
  refuse_untied_head(text);
  ModelSpec spec = gemma3 ? hf::gemma3_spec(text) : hf::gemma4_spec(text);
  spec.architecture = gemma3 ? "gemma3_text" : "gemma4_text";
  spec.bos_id = text.integer_or("bos_token_id", gemma3 ? 2 : -1);
  spec.pad_id = text.integer_or("pad_token_id", gemma3 ? 0 : -1);
  spec.eos_ids = token_id_list(wrapper && config.find("eos_token_id") ? config : text, "eos_token_id");
  if (spec.eos_ids.empty() && gemma3) spec.eos_ids = {1};
  validate(spec);
  return spec;
}

}  // namespace facet
